-- Adopts audit chains, whose shards' locks are held.
with adopted as (
    insert into audit_adoptions (shard, ordinal, through_seq, adopted_rows, digest, adopted_count, adopted_head, link, adopted_at, actor, reason)
    select a.shard, a.ordinal, @through_seq::bigint, a.adopted_rows, a.digest, a.adopted_count, a.adopted_head, a.link,
        @adopted_at::timestamptz, @actor::text, @reason::text
    from unnest(
        @shards::smallint[], @ordinals::bigint[], @adopted_rows::bigint[], @digests::bytea[], @adopted_counts::bigint[],
        @adopted_heads::bytea[], @links::bytea[]
    ) as a (shard, ordinal, adopted_rows, digest, adopted_count, adopted_head, link)
    returning shard, adopted_count, link
), signed as (
    select s.shard, s.audit_signatures
    from unnest(@shards::smallint[], @audit_signatures::bytea[]) as s (shard, audit_signatures)
)
update sync_shards s
set audit_count = adopted.adopted_count, audit_head = adopted.link, audit_signatures = signed.audit_signatures, audit_break = null
from adopted
join signed using (shard)
where s.shard = adopted.shard
