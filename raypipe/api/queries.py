"""What may stand in the query of a request that changes a video: what the route takes, and nothing else."""

from fastapi import Request
from fastapi.dependencies.models import Dependant

from raypipe.api.origins import SAFE
from raypipe.errors import InvalidRequest

#: routes that refuse what they do not know; vendors call their webhooks with what they like
_STRICT = "/v1/videos"


async def known_query(request: Request) -> None:
    """Check that a route that changes something knows all that the query names: a misspelt budget would be none.

    Raises:
        InvalidRequest: It does not.
    """
    given = request.query_params
    if not given or request.method in SAFE or not request.url.path.startswith(_STRICT):
        return
    known = _names(request.scope["route"].dependant)
    for name in given:
        if name not in known:
            takes = f"there are {', '.join(sorted(known))}" if known else "there is none"
            raise InvalidRequest(f"The query names {name!r:.60}, which is no parameter here: {takes}.")
        if len(given.getlist(name)) > 1:
            raise InvalidRequest(f"The query names {name!r} more than once.")


def _names(dependant: Dependant) -> set[str]:
    own = {each.alias for each in dependant.query_params}
    return own.union(*map(_names, dependant.dependencies))
