-- The greatest number in the audit log, 0 of an empty one, and whether a chain was ever adopted.
select coalesce((select max(a.audit_seq) from contact_audit_log a), 0) as audit_seq,
    exists (select from audit_adoptions) as adopted
