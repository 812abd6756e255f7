class TenancyError(Exception):
    """A programming error; clients see it as a 500."""


class TenantMismatchError(TenancyError):
    """A scope of one tenant was opened inside the scope of another."""


class TenantScopeRequiredError(TenancyError):
    """A tenant table was queried outside a scope, where RLS shows no rows."""
