"""All streams of a site planned as one machine: how many frames of each go which way, and what is short.

`problem` says what is asked, `plan` what is answered, `solve` finds it.
"""

from tiercut.planner.site.plan import SitePlan, StreamShare, Way
from tiercut.planner.site.problem import SharedLine, SiteProblem, SiteStream

__all__ = ["SharedLine", "SitePlan", "SiteProblem", "SiteStream", "StreamShare", "Way"]
