"""The admin's pages of the audit log."""

LIST = "/admin/audit/auditlog/"


OVERVIEW, EXPORT = f"{LIST}overview/", f"{LIST}export/"
