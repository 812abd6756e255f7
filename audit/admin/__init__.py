from .audit_log import AuditLogAdmin

__all__ = ["AuditLogAdmin"]
