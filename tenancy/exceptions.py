class TenancyError(Exception):
    """A programming error at the walls; never the answer to a request."""


class TenantMismatchError(TenancyError):
    """A scope of one tenant was opened inside the scope of another."""


class TenantScopeRequiredError(TenancyError):
    """A tenant table was queried outside any scope, where it would silently look empty."""
