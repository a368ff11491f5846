"""What a cut gives away: attackers that rebuild frames from the tensors that cross the wire there."""
