"""Who is asking, and what they may do.

Every view says which role it asks for (`@requires`, `@public`); one hook, before all views, sees to it.
"""

from __future__ import annotations

from webapp.auth.guard import (
    asked_by,
    check_every_route_has_a_role,
    identity,
    init_app,
    public,
    reauthenticated,
    requires,
)

__all__ = ["asked_by", "check_every_route_has_a_role", "identity", "init_app", "public", "reauthenticated", "requires"]
