"""One painter for each motif; each takes a stage and adds the layers of its scene to it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from raypipe.providers.local.motifs.city import paint_skyline
from raypipe.providers.local.motifs.cosmos import paint_abstract, paint_space, paint_underwater
from raypipe.providers.local.motifs.country import paint_meadow, paint_road, paint_village
from raypipe.providers.local.motifs.highlands import (
    paint_aurora,
    paint_mountain,
    paint_volcano,
    paint_waterfall,
)
from raypipe.providers.local.motifs.indoors import paint_interior, paint_product
from raypipe.providers.local.motifs.shores import paint_beach, paint_lake, paint_sea
from raypipe.providers.local.motifs.street import paint_street
from raypipe.providers.local.motifs.wilds import paint_desert, paint_forest
from raypipe.providers.local.stage import Stage

PAINTERS: Mapping[str, Callable[[Stage], None]] = MappingProxyType(
    {
        "mountain": paint_mountain,
        "meadow": paint_meadow,
        "road": paint_road,
        "village": paint_village,
        "forest": paint_forest,
        "desert": paint_desert,
        "skyline": paint_skyline,
        "street": paint_street,
        "space": paint_space,
        "underwater": paint_underwater,
        "abstract": paint_abstract,
        "aurora": paint_aurora,
        "volcano": paint_volcano,
        "waterfall": paint_waterfall,
        "interior": paint_interior,
        "product": paint_product,
        "sea": paint_sea,
        "lake": paint_lake,
        "beach": paint_beach,
    }
)
