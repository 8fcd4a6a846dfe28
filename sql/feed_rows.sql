-- The audit rows of these numbers and the newest row that is visible, each with a
-- proof: another row never has the same number and proof.
select a.audit_seq,
    encode(substring(coalesce(substring(a.chain from 5), sha256(uuid_send(a.event_id))) for 8), 'hex') as proof
from contact_audit_log a
where a.audit_seq = any (@audit_seqs::bigint[] || (select max(newest.audit_seq) from contact_audit_log newest))
