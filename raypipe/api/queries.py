"""What may stand in the query of a request that changes a video: what the route takes, and nothing else."""

from fastapi import Request
from fastapi.dependencies.models import Dependant

from raypipe.api.origins import SAFE
from raypipe.errors import InvalidRequest

#: routes that take what they do not know: vendors call their webhooks with what they like
_LENIENT = "/v1/hooks/"


async def known_query(request: Request) -> None:
    """Check that a route that changes something knows all that the query names: a misspelt budget would be ignored.

    Raises:
        InvalidRequest: It does not.
    """
    given, route = request.query_params, request.scope["route"]
    if not given or request.method in SAFE or route.path.startswith(_LENIENT):
        return
    known = _names(route.dependant)
    for name in given:
        if name not in known:
            takes = ", ".join(sorted(known)) or "nothing"
            raise InvalidRequest(f"The query names {name!r:.60}; in its query this request takes {takes}.")
        if len(given.getlist(name)) > 1:
            raise InvalidRequest(f"The query names {name!r} more than once.")


def _names(dependant: Dependant) -> set[str]:
    own = {each.alias for each in dependant.query_params}
    return own.union(*map(_names, dependant.dependencies))
