-- The greatest number in the audit log, the time, and whether this role may adopt chains.
select coalesce((select max(a.audit_seq) from contact_audit_log a), 0) as audit_seq, clock_timestamp() as now,
    has_table_privilege('audit_adoptions', 'insert') as may_adopt
