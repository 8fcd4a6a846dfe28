-- The chain: each audit row carries its shard's running hash.

-- +goose Up

alter table contact_audit_log
    add column chain_seq bigint,
    add column chain bytea,
    add column salt bytea,
    add column commitment bytea;

comment on column contact_audit_log.chain_seq is 'Place in the chain of the shard, from 1, without gaps; NULL in rows older than the chain.';
comment on column contact_audit_log.chain is 'Link of the chain: an id of the key it was made with (4 bytes, zeros: none), and a hash (32 bytes) of the link before it and of this row.';
comment on column contact_audit_log.salt is 'Random bytes that the link''s commitment to field_values, id_values and last_known is made with; NULL once those were erased.';
comment on column contact_audit_log.commitment is 'The commitment to the values that were erased; NULL while they are here, and it can be computed.';

alter table sync_shards
    add column audit_unchained bigint not null default 0,
    add column audit_count bigint not null default 0,
    add column audit_head bytea,
    add column audit_seal bytea;

comment on column sync_shards.audit_unchained is 'Number of the shard''s audit rows that are older than the chain.';
comment on column sync_shards.audit_count is 'Number of links in the shard''s chain: chain_seq of its last audit row.';
comment on column sync_shards.audit_head is 'The last link of the shard''s chain: chain of its last audit row; NULL before the first.';
comment on column sync_shards.audit_seal is 'Where a key took over since the last link: a hash of that link made with the key, after the key''s id.';

update sync_shards s
set audit_unchained = old.count
from (select shard, count(*) from contact_audit_log group by shard) old
where old.shard = s.shard;

-- +goose Down

alter table sync_shards
    drop column audit_unchained,
    drop column audit_count,
    drop column audit_head,
    drop column audit_seal;

alter table contact_audit_log
    drop column chain_seq,
    drop column chain,
    drop column salt,
    drop column commitment;
