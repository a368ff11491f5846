"""Cuts as people write them."""

import pytest

from tests.bundles import exits_bundle
from tiercut.errors import CutError
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut


def test_number_is_the_cut_itself(chain: Bundle) -> None:
    assert resolve_cut(chain, "3") == 3


def test_ends_are_shares_too(chain: Bundle) -> None:
    assert (resolve_cut(chain, "0%"), resolve_cut(chain, "100%")) == (0, chain.end)


def test_share_of_the_work_is_near_that_share(chain: Bundle) -> None:
    cut = chain.cuts[resolve_cut(chain, "60%")]
    shares = [abs(each.macs / chain.cuts[-1].macs - 0.6) for each in chain.cuts[1:-1]]
    assert abs(cut.macs / chain.cuts[-1].macs - 0.6) <= max(min(shares), 0.05)


def test_cuts_are_those_of_the_variant() -> None:
    bundle = exits_bundle()
    for variant in bundle.variants:
        assert resolve_cut(bundle, "100%", variant.name) == variant.end
        assert 0 < resolve_cut(bundle, "50%", variant.name) < variant.end
        with pytest.raises(CutError, match=f"0 to {variant.end},"):
            resolve_cut(bundle, str(variant.end + 1), variant.name)


@pytest.mark.parametrize("text", ["", "x", "-1", "999", "120%", "%", "1.5"])
def test_what_is_no_cut_says_where_to_look(chain: Bundle, text: str) -> None:
    with pytest.raises(CutError, match="tiercut inspect"):
        resolve_cut(chain, text)
