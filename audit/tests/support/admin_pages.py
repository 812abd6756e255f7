"""URLs of the audit log in the admin."""

LIST = "/admin/audit/auditlog/"
OVERVIEW, EXPORT = f"{LIST}overview/", f"{LIST}export/"
