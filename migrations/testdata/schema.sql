CREATE TYPE public.contact_as_of AS (
	context_identifier text,
	contact_id bigint,
	name text,
	kananame text,
	department text,
	number1 text,
	number2 text,
	org_nr text,
	sound_ex text,
	dbi_key text,
	associate_id bigint,
	country_id bigint,
	business_idx bigint,
	category_idx bigint,
	registered_associate_id bigint,
	updated_associate_id bigint,
	text_id bigint,
	mother_id bigint,
	userdef_id bigint,
	userdef2_id bigint,
	group_id bigint,
	tz_location_id bigint,
	ticket_priority_id bigint,
	support_language_id bigint,
	support_associate_id bigint,
	support_person_id bigint,
	dbi_agent_id bigint,
	source integer,
	active_interests integer,
	updated_count integer,
	deleted integer,
	active_erp_links integer,
	xstop boolean,
	nomailing boolean,
	registered timestamp with time zone,
	updated timestamp with time zone,
	deleted_date timestamp with time zone,
	dbi_last_syncronized timestamp without time zone,
	dbi_last_modified timestamp without time zone,
	soft_deleted boolean,
	soft_deleted_at timestamp with time zone,
	pending_columns text[],
	last_event text,
	last_event_id uuid,
	last_event_at timestamp with time zone,
	last_event_ticks bigint,
	last_changed_by_associate_id bigint
);

COMMENT ON TYPE public.contact_as_of IS 'A row of contacts as of another time: its columns, but first_seen_at and mirrored_at, which are about this database.';

CREATE TYPE public.contactmirror_fact AS (
	event text,
	event_id uuid,
	occurred_at timestamp with time zone,
	occurred_ticks bigint,
	changed_by_associate_id bigint,
	soft_deleted boolean,
	field_values jsonb,
	named text[]
);

COMMENT ON TYPE public.contactmirror_fact IS 'What the fold reads of a row of contact_audit_log.';

CREATE FUNCTION public.advance_log_horizon() RETURNS TABLE(moved boolean, settled boolean, unsealed bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET jit TO 'off'
    AS $$
declare
    seen_event_seq bigint;
    seen_audit_seq bigint;
    h log_horizon;
    s accounting_seal;
begin
    if pg_current_xact_id_if_assigned() is not null then
        raise exception 'advance_log_horizon must be called before its transaction writes'
            using errcode = 'active_sql_transaction';
    end if;
    perform contactmirror_require_restored();
    select coalesce(max(e.event_seq), 0) into seen_event_seq from webhook_events e;
    select coalesce(max(a.audit_seq), 0) into seen_audit_seq from contact_audit_log a;
    -- The lock gives this transaction its id, after the numbers have been seen.
    select * into h from log_horizon l where l.id = 1 for update skip locked;
    if not found then
        return;
    end if;
    moved := false;
    if h.noted_by is null or h.noted_by > pg_current_xact_id() then
        -- There is no note, or one from another cluster, that was dumped.
        update log_horizon l
        set noted_event_seq = greatest(h.event_seq, seen_event_seq),
            noted_audit_seq = greatest(h.audit_seq, seen_audit_seq),
            noted_by = pg_current_xact_id(),
            noted_at = clock_timestamp()
        where l.id = 1
        returning * into h;
    elsif h.noted_by < pg_snapshot_xmin(pg_current_snapshot()) then
        moved := (h.noted_event_seq, h.noted_audit_seq) <> (h.event_seq, h.audit_seq);
        if moved or seen_event_seq > h.noted_event_seq or seen_audit_seq > h.noted_audit_seq then
            update log_horizon l
            set event_seq = h.noted_event_seq,
                audit_seq = h.noted_audit_seq,
                noted_event_seq = greatest(h.noted_event_seq, seen_event_seq),
                noted_audit_seq = greatest(h.noted_audit_seq, seen_audit_seq),
                noted_by = pg_current_xact_id(),
                noted_at = clock_timestamp()
            where l.id = 1
            returning * into h;
        end if;
        if moved then
            perform pg_notify('contactmirror_settled', '');
        end if;
    end if;
    settled := greatest(h.noted_event_seq, seen_event_seq) = h.event_seq and greatest(h.noted_audit_seq, seen_audit_seq) = h.audit_seq;
    select * into s from accounting_seal c where c.id = 1;
    unsealed := greatest(h.event_seq - s.event_seq, h.audit_seq - s.audit_seq);
    return next;
end
$$;

COMMENT ON FUNCTION public.advance_log_horizon() IS 'Moves log_horizon up as far as is certain; returns whether it moved, whether both logs are now settled to their ends, and how many numbers sealed_accounts is behind it; notifies contactmirror_settled of a move. Returns no row while another session runs it. Fails in the middle of a restore, and where rows are missing after it.';

CREATE TABLE public.contact_audit_log (
    audit_seq bigint NOT NULL,
    event_seq bigint,
    shard smallint NOT NULL,
    context_identifier text NOT NULL,
    contact_id bigint NOT NULL,
    event text NOT NULL,
    event_id uuid NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    occurred_ticks bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    changed_columns text[] NOT NULL,
    field_values jsonb,
    given_columns bigint NOT NULL,
    id_values jsonb,
    unreadable_columns text[] NOT NULL,
    noticed_columns text[],
    irregular boolean DEFAULT false NOT NULL,
    soft_deleted boolean,
    hard_deleted boolean NOT NULL,
    outcome text,
    effect text NOT NULL,
    changed_by_associate_id bigint,
    webhook_name text,
    origin text NOT NULL,
    last_known jsonb,
    chain_seq bigint NOT NULL,
    chain bytea NOT NULL,
    salt bytea,
    commitment bytea,
    erased_columns text[],
    CONSTRAINT contact_audit_log_chain CHECK ((octet_length(chain) = 36)),
    CONSTRAINT contact_audit_log_chain_seq CHECK ((chain_seq > 0)),
    CONSTRAINT contact_audit_log_commitment CHECK ((octet_length(commitment) = 32)),
    CONSTRAINT contact_audit_log_contact_id CHECK ((contact_id > 0)),
    CONSTRAINT contact_audit_log_effect CHECK (((effect = ANY (ARRAY['upserted'::text, 'soft_deleted'::text, 'restored'::text, 'deleted'::text, 'erased'::text, 'unchanged'::text])) AND ((effect = 'erased'::text) = (event = 'mirror.erased'::text)))),
    CONSTRAINT contact_audit_log_erased CHECK (((erased_columns IS NULL) OR ((field_values IS NULL) AND (id_values IS NULL) AND (last_known IS NULL) AND (salt IS NULL)))),
    CONSTRAINT contact_audit_log_event CHECK ((event = ANY (ARRAY['contact.created'::text, 'contact.changed'::text, 'contact.softdeleted'::text, 'contact.deleted'::text, 'mirror.erased'::text, 'mirror.erasure_lifted'::text]))),
    CONSTRAINT contact_audit_log_fact CHECK (((outcome IS NULL) = (event = ANY (ARRAY['mirror.erased'::text, 'mirror.erasure_lifted'::text])))),
    CONSTRAINT contact_audit_log_given_columns CHECK ((((given_columns >= 0) AND (given_columns <= (((1)::bigint << 38) - 1))) AND ((given_columns = 0) OR (field_values IS NOT NULL)))),
    CONSTRAINT contact_audit_log_origin CHECK ((origin = ANY (ARRAY['webhook'::text, 'backfill'::text, 'fetch'::text, 'reconcile'::text, 'operator'::text]))),
    CONSTRAINT contact_audit_log_outcome CHECK ((outcome = ANY (ARRAY['applied'::text, 'no_op'::text, 'superseded'::text, 'after_delete'::text]))),
    CONSTRAINT contact_audit_log_salt CHECK ((octet_length(salt) = 16)),
    CONSTRAINT contact_audit_log_shard CHECK (((shard >= 0) AND (shard <= 31)))
)
WITH (autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='500000', autovacuum_freeze_min_age='0');

COMMENT ON TABLE public.contact_audit_log IS 'One row for each contact event, written in the transaction that applied it, and one for each erasure of a contact and each lifting; never removed, and never changed except by erasure, which removes values. What the event said does not depend on when it arrived; outcome, effect, last_known, noticed_columns and irregular do. Rows with an outcome are the facts about contacts.';

COMMENT ON COLUMN public.contact_audit_log.audit_seq IS 'Key, in the order of writing. Numbers have gaps and may become visible out of order.';

COMMENT ON COLUMN public.contact_audit_log.event_seq IS 'The event in webhook_events; NULL where the row did not come by webhook.';

COMMENT ON COLUMN public.contact_audit_log.shard IS 'The shard of the contact.';

COMMENT ON COLUMN public.contact_audit_log.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.contact_audit_log.contact_id IS 'The contact.';

COMMENT ON COLUMN public.contact_audit_log.event IS 'SuperOffice''s name of the event; mirror.erased: an operator erased the contact; mirror.erasure_lifted: values of later events are kept again.';

COMMENT ON COLUMN public.contact_audit_log.event_id IS 'SuperOffice''s EventId; of an erasure or a lifting a random UUID.';

COMMENT ON COLUMN public.contact_audit_log.occurred_at IS 'SuperOffice''s Timestamp, cut to microseconds; of an erasure or a lifting the same as recorded_at.';

COMMENT ON COLUMN public.contact_audit_log.occurred_ticks IS 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';

COMMENT ON COLUMN public.contact_audit_log.received_at IS 'When the event arrived, by the receiver''s clock.';

COMMENT ON COLUMN public.contact_audit_log.recorded_at IS 'When it was applied, by the database''s clock.';

COMMENT ON COLUMN public.contact_audit_log.changed_columns IS 'SuperOffice''s Changes, verbatim: names of columns, and others that the mirror does not have. Erasure removes the others, which may be any text.';

COMMENT ON COLUMN public.contact_audit_log.field_values IS 'The readable values the event gave contact columns, under SuperOffice''s names, as sent; NULL where it gave none at all. A date before 0001-01-03, or from 1759-12-31 to 1760-01-02, means that none is set.';

COMMENT ON COLUMN public.contact_audit_log.given_columns IS 'The columns to which field_values gives a readable value, as a bit set: 1 << n is the n-th row of contact_columns, counted from 0; contact_id is never in it. 0 once the values were erased.';

COMMENT ON COLUMN public.contact_audit_log.id_values IS 'SuperOffice''s Values, the ids of a dead row; no column takes its value from them.';

COMMENT ON COLUMN public.contact_audit_log.unreadable_columns IS 'Columns to which the event gave a value that can''t be read: one outside their type or outside the grammar of dates, or a DeletedDate before 1980 or more than a day after the event. They are pending, and the value decides nothing.';

COMMENT ON COLUMN public.contact_audit_log.noticed_columns IS 'For contact_changes: the columns that changed although no event said so, as the facts recorded by then tell: the event gives them a value without naming them, and the last fact that named them or gave them a value gave another one. NULL where there are none, and of an irregular row.';

COMMENT ON COLUMN public.contact_audit_log.irregular IS 'For contact_changes: the fact was not later than all facts of the contact recorded before, or it names a column twice, or gives a column that it does not name a value that can''t be read or was erased. What the facts of such a contact notice is computed from all of them, and not read from noticed_columns.';

COMMENT ON COLUMN public.contact_audit_log.soft_deleted IS 'What the event says of the soft-delete flag; NULL where it says nothing, and on a hard delete.';

COMMENT ON COLUMN public.contact_audit_log.hard_deleted IS 'The event is a hard delete.';

COMMENT ON COLUMN public.contact_audit_log.outcome IS 'applied; no_op: the row was so already; superseded: later events had overwritten all it says; after_delete: later than the hard delete. NULL of an erasure and a lifting, which are no facts.';

COMMENT ON COLUMN public.contact_audit_log.effect IS 'What this row did to the contact in contacts, compared with the contact just before it, in the order of audit_seq: upserted; soft_deleted: the flag was set, or the contact was first seen with it; restored: the flag was cleared; deleted: hard delete; erased: its values were erased, here and in earlier rows; unchanged: at most last_… columns changed, or an erasure was lifted. It depends on arrival order. rebuild and replay write no rows: they restore what the effects say.';

COMMENT ON COLUMN public.contact_audit_log.changed_by_associate_id IS 'Who caused the event; NULL where it does not say.';

COMMENT ON COLUMN public.contact_audit_log.webhook_name IS 'Name of the webhook definition at SuperOffice.';

COMMENT ON COLUMN public.contact_audit_log.origin IS 'Where the fact came from: webhook, backfill, fetch or reconcile; operator: an erasure or a lifting.';

COMMENT ON COLUMN public.contact_audit_log.last_known IS 'On a hard delete: the row that contacts held until then, by column name; NULL where there was none.';

COMMENT ON COLUMN public.contact_audit_log.chain_seq IS 'Place in the chain of the shard, from 1, without gaps.';

COMMENT ON COLUMN public.contact_audit_log.chain IS 'Link of the chain: an id of the key it was made with (4 bytes, zeros: none), and a hash (32 bytes) of the link before it, of a row or of an adoption, and of this row.';

COMMENT ON COLUMN public.contact_audit_log.salt IS 'Random bytes that the link''s commitment to changed_columns, field_values, given_columns, id_values and last_known is made with; NULL once those were erased.';

COMMENT ON COLUMN public.contact_audit_log.commitment IS 'The commitment to the values that were erased; NULL while they are here, because it can be computed from them.';

COMMENT ON COLUMN public.contact_audit_log.erased_columns IS 'Of a row whose values were erased: the names in its field_values, in SuperOffice''s spelling and in ascending order; the link covers them. The columns count as changed to what is not known. NULL where nothing was erased.';

CREATE TABLE public.log_horizon (
    id smallint NOT NULL,
    event_seq bigint NOT NULL,
    audit_seq bigint NOT NULL,
    noted_event_seq bigint NOT NULL,
    noted_audit_seq bigint NOT NULL,
    noted_by xid8,
    noted_at timestamp with time zone,
    CONSTRAINT log_horizon_noted CHECK (((event_seq <= noted_event_seq) AND (audit_seq <= noted_audit_seq))),
    CONSTRAINT log_horizon_one_row CHECK ((id = 1)),
    CONSTRAINT log_horizon_range CHECK (((event_seq >= 0) AND (audit_seq >= 0)))
);

COMMENT ON TABLE public.log_horizon IS 'One row: how far the two logs are complete. No row up to there can appear any more.';

COMMENT ON COLUMN public.log_horizon.id IS 'Always 1.';

COMMENT ON COLUMN public.log_horizon.event_seq IS 'Up to here webhook_events is complete.';

COMMENT ON COLUMN public.log_horizon.audit_seq IS 'Up to here contact_audit_log is complete.';

COMMENT ON COLUMN public.log_horizon.noted_event_seq IS 'The next event_seq, once all transactions up to noted_by have ended.';

COMMENT ON COLUMN public.log_horizon.noted_audit_seq IS 'The next audit_seq, likewise.';

COMMENT ON COLUMN public.log_horizon.noted_by IS 'The transaction that made the note, after it had seen these numbers; NULL before the first.';

COMMENT ON COLUMN public.log_horizon.noted_at IS 'When the note was made. While the horizon is not at the ends of the logs, it has waited since then for transactions up to noted_by to end.';

CREATE TABLE public.sync_shards (
    shard smallint NOT NULL,
    audit_count bigint DEFAULT 0 NOT NULL,
    audit_head bytea,
    audit_seq bigint DEFAULT 0 NOT NULL,
    audit_signatures bytea,
    audit_break bigint,
    CONSTRAINT sync_shards_audit_count CHECK ((audit_count >= 0)),
    CONSTRAINT sync_shards_audit_head CHECK (((octet_length(audit_head) = 36) OR ((audit_head IS NULL) AND (audit_count = 0)))),
    CONSTRAINT sync_shards_audit_seq CHECK ((audit_seq >= 0)),
    CONSTRAINT sync_shards_audit_signatures CHECK ((((octet_length(audit_signatures) % 36) = 0) AND ((octet_length(audit_signatures) >= 36) AND (octet_length(audit_signatures) <= 576)))),
    CONSTRAINT sync_shards_shard CHECK (((shard >= 0) AND (shard <= 31)))
)
WITH (fillfactor='50');

COMMENT ON TABLE public.sync_shards IS 'One row for each shard of the contacts. A worker locks the rows of the shards it works on before it does anything else.';

COMMENT ON COLUMN public.sync_shards.shard IS 'Number of the shard, a function of tenant and contact id.';

COMMENT ON COLUMN public.sync_shards.audit_count IS 'Number of rows in the shard''s chain: chain_seq of its last audit row.';

COMMENT ON COLUMN public.sync_shards.audit_head IS 'The last link of the shard''s chain: chain of its last audit row, or link of an adoption after that; NULL before the first.';

COMMENT ON COLUMN public.sync_shards.audit_seq IS 'audit_seq of the shard''s last audit row; 0 before the first. For changes_cursor.';

COMMENT ON COLUMN public.sync_shards.audit_signatures IS 'HMACs of the shard, audit_count and audit_head, one for each key that the writer of the head had, each 4 bytes of the key''s id and 32 of hash; NULL where it was written without a key.';

COMMENT ON COLUMN public.sync_shards.audit_break IS 'Where no key of a worker signed the head: the number of the log (audit_seq) from which on the shard''s rows are linked without a key, until audit adopt; NULL where nothing is wrong.';

CREATE FUNCTION public.changes_cursor(after bigint DEFAULT NULL::bigint) RETURNS text
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT concat_ws('-'::text, COALESCE(changes_cursor.after, ( SELECT max(l.audit_seq) AS max
            FROM public.contact_audit_log l
           WHERE (l.audit_seq <= ( SELECT h.audit_seq
                    FROM public.log_horizon h
                   WHERE (h.id = 1)))), (0)::bigint), NULLIF(concat_ws('.'::text, max(r.audit_seq), string_agg(((r.newest - r.audit_seq))::text, '.'::text ORDER BY r.audit_seq DESC) FILTER (WHERE (r.audit_seq < r.newest))), ''::text), encode(SUBSTRING(sha256(string_agg((int8send(r.audit_seq) || r.chain), '\x'::bytea ORDER BY r.audit_seq)) FROM 1 FOR 8), 'hex'::text)) AS concat_ws
    FROM ( SELECT a.audit_seq,
             a.chain,
             max(a.audit_seq) OVER () AS newest
            FROM (public.sync_shards s
              CROSS JOIN LATERAL ( SELECT l.audit_seq,
                     l.chain
                    FROM public.contact_audit_log l
                   WHERE (l.audit_seq = s.audit_seq)
                  LIMIT 1) a)) r;
END;

COMMENT ON FUNCTION public.changes_cursor(after bigint) IS 'changes_cursor(after): the cursor of a consumer that has read up to a row (after; by default the last row that changes_since returns now). It proves every row of the log that is visible in this transaction, so what was read and what contacts shows must have been read in it, in REPEATABLE READ. /changes takes it as after. For changes_since alone: after is the number before the first hyphen.';

CREATE FUNCTION public.changes_held(cursor text) RETURNS boolean
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT (((c.after = 0) AND (c.proof = ''::text)) OR COALESCE(((c.after <= c.named[1]) AND (encode(SUBSTRING(sha256(( SELECT string_agg((int8send(l.audit_seq) || l.chain), '\x'::bytea ORDER BY l.audit_seq) AS string_agg
            FROM public.contact_audit_log l
           WHERE (l.audit_seq = ANY (ARRAY( SELECT
                         CASE n.place
                             WHEN 1 THEN n.number
                             ELSE (c.named[1] - n.number)
                         END AS "case"
                    FROM unnest(c.named) WITH ORDINALITY n(number, place)))))) FROM 1 FOR 8), 'hex'::text) = c.proof)), false))
    FROM ( SELECT (split_part(changes_held.cursor, '-'::text, 1))::bigint AS after,
             (string_to_array(split_part(changes_held.cursor, '-'::text, 2), '.'::text))::bigint[] AS named,
             split_part(changes_held.cursor, '-'::text, 3) AS proof) c;
END;

COMMENT ON FUNCTION public.changes_held(cursor text) IS 'changes_held(cursor): whether the log holds every row that was visible when the cursor was made. If not, the database was restored, or failed over, without some of them, or is another one: start over from a copy of contacts, made in one REPEATABLE READ transaction with changes_cursor(). A standby that lags behind does not hold the newest rows yet.';

CREATE FUNCTION public.contactmirror_utc(at timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ((to_jsonb((at AT TIME ZONE 'UTC'::text)) #>> '{}'::text[]) || 'Z'::text);

COMMENT ON FUNCTION public.contactmirror_utc(at timestamp with time zone) IS 'A time as jsonb holds it here: in UTC with a Z, whatever the session''s zone.';

CREATE TABLE public.contacts (
    context_identifier text NOT NULL,
    contact_id bigint NOT NULL,
    name text,
    kananame text,
    department text,
    number1 text,
    number2 text,
    org_nr text,
    sound_ex text,
    dbi_key text,
    associate_id bigint,
    country_id bigint,
    business_idx bigint,
    category_idx bigint,
    registered_associate_id bigint,
    updated_associate_id bigint,
    text_id bigint,
    mother_id bigint,
    userdef_id bigint,
    userdef2_id bigint,
    group_id bigint,
    tz_location_id bigint,
    ticket_priority_id bigint,
    support_language_id bigint,
    support_associate_id bigint,
    support_person_id bigint,
    dbi_agent_id bigint,
    source integer,
    active_interests integer,
    updated_count integer,
    deleted integer,
    active_erp_links integer,
    xstop boolean,
    nomailing boolean,
    registered timestamp with time zone,
    updated timestamp with time zone,
    deleted_date timestamp with time zone,
    dbi_last_syncronized timestamp without time zone,
    dbi_last_modified timestamp without time zone,
    soft_deleted boolean NOT NULL,
    soft_deleted_at timestamp with time zone,
    pending_columns text[] NOT NULL,
    last_event text NOT NULL,
    last_event_id uuid NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    last_event_ticks bigint NOT NULL,
    last_changed_by_associate_id bigint,
    first_seen_at timestamp with time zone NOT NULL,
    mirrored_at timestamp with time zone NOT NULL,
    CONSTRAINT contacts_contact_id CHECK ((contact_id > 0)),
    CONSTRAINT contacts_soft_deleted_at CHECK ((soft_deleted = (soft_deleted_at IS NOT NULL)))
)
WITH (fillfactor='80');

COMMENT ON TABLE public.contacts IS 'One row for each live contact: SuperOffice''s columns as far as they are known, and the mirror''s own. 0 in an id column means none.';

COMMENT ON COLUMN public.contacts.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.contacts.contact_id IS 'SuperOffice: primary key.';

COMMENT ON COLUMN public.contacts.name IS 'SuperOffice: company name.';

COMMENT ON COLUMN public.contacts.kananame IS 'SuperOffice: kana name, Japanese versions only.';

COMMENT ON COLUMN public.contacts.department IS 'SuperOffice: department.';

COMMENT ON COLUMN public.contacts.number1 IS 'SuperOffice: alphanumeric user field.';

COMMENT ON COLUMN public.contacts.number2 IS 'SuperOffice: alphanumeric user field.';

COMMENT ON COLUMN public.contacts.org_nr IS 'SuperOffice orgNr: VAT number or similar.';

COMMENT ON COLUMN public.contacts.sound_ex IS 'SuperOffice soundEx: what the name sounds like.';

COMMENT ON COLUMN public.contacts.dbi_key IS 'SuperOffice: key of the entry in an external data source.';

COMMENT ON COLUMN public.contacts.associate_id IS 'SuperOffice: our contact, the owner.';

COMMENT ON COLUMN public.contacts.country_id IS 'SuperOffice: country.';

COMMENT ON COLUMN public.contacts.business_idx IS 'SuperOffice: entry of the business list.';

COMMENT ON COLUMN public.contacts.category_idx IS 'SuperOffice: entry of the category list.';

COMMENT ON COLUMN public.contacts.registered_associate_id IS 'SuperOffice: registered by whom.';

COMMENT ON COLUMN public.contacts.updated_associate_id IS 'SuperOffice: last updated by whom.';

COMMENT ON COLUMN public.contacts.text_id IS 'SuperOffice: note.';

COMMENT ON COLUMN public.contacts.mother_id IS 'SuperOffice: reserved (parent).';

COMMENT ON COLUMN public.contacts.userdef_id IS 'SuperOffice: user-defined record 1.';

COMMENT ON COLUMN public.contacts.userdef2_id IS 'SuperOffice: user-defined record 2.';

COMMENT ON COLUMN public.contacts.group_id IS 'SuperOffice: user group of the original owner.';

COMMENT ON COLUMN public.contacts.tz_location_id IS 'SuperOffice tzLocationId: default time zone location.';

COMMENT ON COLUMN public.contacts.ticket_priority_id IS 'SuperOffice ticketPriorityId: default ticket priority.';

COMMENT ON COLUMN public.contacts.support_language_id IS 'SuperOffice supportLanguageId: customer language.';

COMMENT ON COLUMN public.contacts.support_associate_id IS 'SuperOffice supportAssociateId: our contact for support.';

COMMENT ON COLUMN public.contacts.support_person_id IS 'SuperOffice supportPersonId: the person support talks to.';

COMMENT ON COLUMN public.contacts.dbi_agent_id IS 'SuperOffice: integration agent.';

COMMENT ON COLUMN public.contacts.source IS 'SuperOffice: how we got this contact.';

COMMENT ON COLUMN public.contacts.active_interests IS 'SuperOffice activeInterests: number of interest rows.';

COMMENT ON COLUMN public.contacts.updated_count IS 'SuperOffice updatedCount: number of updates, 16 bits at the source.';

COMMENT ON COLUMN public.contacts.deleted IS 'SuperOffice: non-zero when deleted. Use soft_deleted: the source keeps two markers.';

COMMENT ON COLUMN public.contacts.active_erp_links IS 'SuperOffice activeErpLinks: number of ERP connections.';

COMMENT ON COLUMN public.contacts.xstop IS 'SuperOffice: STOP flag.';

COMMENT ON COLUMN public.contacts.nomailing IS 'SuperOffice: no mailings.';

COMMENT ON COLUMN public.contacts.registered IS 'SuperOffice: date registered.';

COMMENT ON COLUMN public.contacts.updated IS 'SuperOffice: date last updated.';

COMMENT ON COLUMN public.contacts.deleted_date IS 'SuperOffice DeletedDate: when soft-deleted; NULL where it says that no date is set. Use soft_deleted_at.';

COMMENT ON COLUMN public.contacts.dbi_last_syncronized IS 'SuperOffice: last external synchronisation, without a zone.';

COMMENT ON COLUMN public.contacts.dbi_last_modified IS 'SuperOffice: last modified in the external source, without a zone.';

COMMENT ON COLUMN public.contacts.soft_deleted IS 'In SuperOffice''s recycle bin.';

COMMENT ON COLUMN public.contacts.soft_deleted_at IS 'Since when in the recycle bin: the last DeletedDate that was set, else the time of the event that put it there. NULL when not soft_deleted.';

COMMENT ON COLUMN public.contacts.pending_columns IS 'Columns of this table whose current value is not known here; the value in them may be older.';

COMMENT ON COLUMN public.contacts.last_event IS 'The newest event, in the source''s order.';

COMMENT ON COLUMN public.contacts.last_event_id IS 'Its EventId.';

COMMENT ON COLUMN public.contacts.last_event_at IS 'Its Timestamp, cut to microseconds.';

COMMENT ON COLUMN public.contacts.last_event_ticks IS 'Its Timestamp in units of 100 ns since 1970-01-01 UTC.';

COMMENT ON COLUMN public.contacts.last_changed_by_associate_id IS 'Who caused it; NULL where it does not say.';

COMMENT ON COLUMN public.contacts.first_seen_at IS 'When the row was first written here.';

COMMENT ON COLUMN public.contacts.mirrored_at IS 'When the row was last written here.';

CREATE FUNCTION public.contactmirror_row(contact public.contacts) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (to_jsonb(contact) || jsonb_build_object('registered', public.contactmirror_utc((contact).registered), 'updated', public.contactmirror_utc((contact).updated), 'deleted_date', public.contactmirror_utc((contact).deleted_date), 'soft_deleted_at', public.contactmirror_utc((contact).soft_deleted_at), 'last_event_at', public.contactmirror_utc((contact).last_event_at), 'first_seen_at', public.contactmirror_utc((contact).first_seen_at), 'mirrored_at', public.contactmirror_utc((contact).mirrored_at)));

COMMENT ON FUNCTION public.contactmirror_row(contact public.contacts) IS 'A row of contacts as JSON, by column name, with its times in UTC.';

CREATE FUNCTION public.changes_since(after bigint, max_rows integer DEFAULT 1000) RETURNS TABLE(audit_seq bigint, context_identifier text, contact_id bigint, change text, event text, event_id uuid, occurred_at timestamp with time zone, outcome text, changed_columns text[], contact jsonb)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT a.audit_seq,
     a.context_identifier,
     a.contact_id,
     a.effect,
     a.event,
     a.event_id,
     a.occurred_at,
     a.outcome,
     a.changed_columns,
     now_is.contact
    FROM (( SELECT l.audit_seq,
             l.event_seq,
             l.shard,
             l.context_identifier,
             l.contact_id,
             l.event,
             l.event_id,
             l.occurred_at,
             l.occurred_ticks,
             l.received_at,
             l.recorded_at,
             l.changed_columns,
             l.field_values,
             l.given_columns,
             l.id_values,
             l.unreadable_columns,
             l.noticed_columns,
             l.irregular,
             l.soft_deleted,
             l.hard_deleted,
             l.outcome,
             l.effect,
             l.changed_by_associate_id,
             l.webhook_name,
             l.origin,
             l.last_known,
             l.chain_seq,
             l.chain,
             l.salt,
             l.commitment,
             l.erased_columns
            FROM public.contact_audit_log l
           WHERE ((l.audit_seq > changes_since.after) AND (l.audit_seq <= ( SELECT h.audit_seq
                    FROM public.log_horizon h
                   WHERE (h.id = 1))))
           ORDER BY l.audit_seq
          LIMIT changes_since.max_rows) a
      LEFT JOIN LATERAL ( SELECT public.contactmirror_row(c.*) AS contact
            FROM public.contacts c
           WHERE ((c.context_identifier = a.context_identifier) AND (c.contact_id = a.contact_id))
          LIMIT 1) now_is ON (true))
   ORDER BY a.audit_seq;
END;

COMMENT ON FUNCTION public.changes_since(after bigint, max_rows integer) IS 'changes_since(after, max_rows): up to max_rows changes after a row of contact_audit_log, oldest first; 0 is the beginning, and the last audit_seq returned is the next after. Each change comes once and none is left out, whatever commits in which order. change: the effect of the row, as in contact_audit_log: a consumer that applies the changes in this order agrees with the mirror on which contacts there are and on soft_deleted, and erases its values where it is erased. outcome is NULL of an erasure and of its lifting. contact: the row of contacts as it is now, NULL where there is none. A restore, or a failover that lost the last commits, takes back rows that were read, so a consumer reads in REPEATABLE READ transactions: it checks changes_held(cursor), reads, and keeps changes_cursor(audit_seq of the last row) for the next transaction.';

CREATE FUNCTION public.contactmirror_rank(event text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE event WHEN 'contact.created'::text THEN 0 WHEN 'contact.changed'::text THEN 1 WHEN 'contact.softdeleted'::text THEN 2 ELSE 3 END;

COMMENT ON FUNCTION public.contactmirror_rank(event text) IS 'Order of an event''s kind among events of the same instant.';

CREATE FUNCTION public.contactmirror_require_tenant(tenant text) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
begin
    if tenant is null
        or exists (select from contact_audit_log a where a.context_identifier = tenant and a.outcome is not null)
        or exists (select from contacts c where c.context_identifier = tenant)
        or exists (select from webhook_events e where e.context_identifier = tenant and e.event <> 'test')
    then
        return true;
    end if;
    raise exception 'unknown tenant %', quote_literal(tenant)
        using errcode = 'invalid_parameter_value',
            hint = 'The name is SuperOffice''s ContextIdentifier, upper and lower case as there. mirror_freshness lists the tenants.';
end
$$;

COMMENT ON FUNCTION public.contactmirror_require_tenant(tenant text) IS 'Fails with invalid_parameter_value for a tenant of which no event was accepted, or only the test events of a webhook''s registration. Otherwise, and for NULL, true.';

CREATE FUNCTION public.contactmirror_value(type text, source_name text, value jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
declare
    literal text := value #>> '{}';
begin
    if jsonb_typeof(value) = 'null' then
        return value;
    elsif type = 'text' then
        return case jsonb_typeof(value) when 'string' then value end;
    elsif source_name = 'deleted' then
        return to_jsonb(contactmirror_deleted(literal));
    elsif type = 'bigint' then
        return to_jsonb(contactmirror_bigint(literal));
    elsif type = 'integer' then
        return to_jsonb(contactmirror_integer(literal));
    elsif type = 'boolean' then
        return to_jsonb(contactmirror_boolean(literal));
    end if;
    return coalesce(
        to_jsonb((to_jsonb(contactmirror_time(literal)) #>> '{}') || case type when 'timestamptz' then 'Z' else '' end),
        case contactmirror_read_time(literal) when '-infinity' then 'null'::jsonb end
    );
end
$$;

COMMENT ON FUNCTION public.contactmirror_value(type text, source_name text, value jsonb) IS 'The value of a column of the type as JSON, in one form, so that equal values are equal: JSON''s null where it is NULL, SQL''s NULL where it can''t be read.';

CREATE VIEW public.contact_columns AS
 SELECT "*VALUES*".column1 AS source_name,
    "*VALUES*".column2 AS column_name,
    "*VALUES*".column3 AS type
   FROM (VALUES ('contact_id'::text,'contact_id'::text,'bigint'::text), ('name'::text,'name'::text,'text'::text), ('kananame'::text,'kananame'::text,'text'::text), ('department'::text,'department'::text,'text'::text), ('number1'::text,'number1'::text,'text'::text), ('number2'::text,'number2'::text,'text'::text), ('orgNr'::text,'org_nr'::text,'text'::text), ('soundEx'::text,'sound_ex'::text,'text'::text), ('dbi_key'::text,'dbi_key'::text,'text'::text), ('associate_id'::text,'associate_id'::text,'bigint'::text), ('country_id'::text,'country_id'::text,'bigint'::text), ('business_idx'::text,'business_idx'::text,'bigint'::text), ('category_idx'::text,'category_idx'::text,'bigint'::text), ('registered_associate_id'::text,'registered_associate_id'::text,'bigint'::text), ('updated_associate_id'::text,'updated_associate_id'::text,'bigint'::text), ('text_id'::text,'text_id'::text,'bigint'::text), ('mother_id'::text,'mother_id'::text,'bigint'::text), ('userdef_id'::text,'userdef_id'::text,'bigint'::text), ('userdef2_id'::text,'userdef2_id'::text,'bigint'::text), ('group_id'::text,'group_id'::text,'bigint'::text), ('tzLocationId'::text,'tz_location_id'::text,'bigint'::text), ('ticketPriorityId'::text,'ticket_priority_id'::text,'bigint'::text), ('supportLanguageId'::text,'support_language_id'::text,'bigint'::text), ('supportAssociateId'::text,'support_associate_id'::text,'bigint'::text), ('supportPersonId'::text,'support_person_id'::text,'bigint'::text), ('dbi_agent_id'::text,'dbi_agent_id'::text,'bigint'::text), ('source'::text,'source'::text,'integer'::text), ('activeInterests'::text,'active_interests'::text,'integer'::text), ('updatedCount'::text,'updated_count'::text,'integer'::text), ('deleted'::text,'deleted'::text,'integer'::text), ('activeErpLinks'::text,'active_erp_links'::text,'integer'::text), ('xstop'::text,'xstop'::text,'boolean'::text), ('nomailing'::text,'nomailing'::text,'boolean'::text), ('registered'::text,'registered'::text,'timestamptz'::text), ('updated'::text,'updated'::text,'timestamptz'::text), ('DeletedDate'::text,'deleted_date'::text,'timestamptz'::text), ('dbi_last_syncronized'::text,'dbi_last_syncronized'::text,'timestamp'::text), ('dbi_last_modified'::text,'dbi_last_modified'::text,'timestamp'::text)) "*VALUES*";

COMMENT ON VIEW public.contact_columns IS 'The mirrored columns: SuperOffice''s name, as in the audit log, and the name in contacts.';

CREATE FUNCTION public.column_provenance(context_identifier text, contact_id bigint) RETURNS TABLE(column_name text, source_name text, value jsonb, pending boolean, occurred_at timestamp with time zone, event text, event_id uuid, changed_by_associate_id bigint, origin text, pending_since timestamp with time zone)
    LANGUAGE sql STABLE ROWS 37 PARALLEL SAFE
    SET jit TO 'off'
    BEGIN ATOMIC
 WITH live AS (
          SELECT
            FROM public.contacts c
           WHERE (public.contactmirror_require_tenant(column_provenance.context_identifier) AND (c.context_identifier = column_provenance.context_identifier) AND (c.contact_id = column_provenance.contact_id))
          LIMIT 1
         ), facts AS (
          SELECT a.event,
             a.event_id,
             a.occurred_at,
             a.occurred_ticks,
             a.changed_by_associate_id,
             a.origin,
             a.changed_columns,
             a.field_values,
             a.unreadable_columns,
             a.erased_columns,
             row_number() OVER (ORDER BY a.occurred_ticks, (public.contactmirror_rank(a.event)), a.event_id) AS place
            FROM (live live_1
              CROSS JOIN LATERAL ( SELECT l.event,
                     l.event_id,
                     l.occurred_at,
                     l.occurred_ticks,
                     l.changed_by_associate_id,
                     l.origin,
                     l.changed_columns,
                     l.field_values,
                     l.unreadable_columns,
                     l.erased_columns
                    FROM public.contact_audit_log l
                   WHERE ((l.context_identifier = column_provenance.context_identifier) AND (l.contact_id = column_provenance.contact_id) AND (l.outcome IS NOT NULL))
                  OFFSET 0) a)
         )
  SELECT s.column_name,
     s.source_name,
     g.value,
     ((g.value IS NULL) OR (n.place IS NOT NULL)),
     g.occurred_at,
     g.event,
     g.event_id,
     g.changed_by_associate_id,
     g.origin,
     n.occurred_at
    FROM (((live
      CROSS JOIN public.contact_columns s)
      LEFT JOIN LATERAL ( SELECT f.event,
             f.event_id,
             f.occurred_at,
             f.occurred_ticks,
             f.changed_by_associate_id,
             f.origin,
             f.changed_columns,
             f.field_values,
             f.unreadable_columns,
             f.erased_columns,
             f.place,
             public.contactmirror_value(s.type, s.source_name, (f.field_values -> s.source_name)) AS value
            FROM facts f
           WHERE (f.field_values ? s.source_name)
           ORDER BY f.place DESC
          LIMIT 1) g ON (true))
      LEFT JOIN LATERAL ( SELECT f.place,
             f.occurred_at
            FROM facts f
           WHERE ((f.place > COALESCE(g.place, (0)::bigint)) AND (s.source_name = ANY (((f.changed_columns || f.unreadable_columns) || COALESCE(f.erased_columns, '{}'::text[])))))
           ORDER BY f.place
          LIMIT 1) n ON (true))
   WHERE (s.column_name <> 'contact_id'::text);
END;

COMMENT ON FUNCTION public.column_provenance(context_identifier text, contact_id bigint) IS 'column_provenance(context_identifier, contact_id): where each value of a live contact comes from: the event that gave it, when, by whom; and whether it is pending, since when an event named the column without a value (NULL where none has). value is SQL''s NULL where none was ever given. No rows where the contact has none in contacts; fails for an unknown tenant.';

CREATE FUNCTION public.contactmirror_irregular_changes(audit_seq bigint) RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    SET jit TO 'off'
    BEGIN ATOMIC
 WITH fact AS (
          SELECT a.audit_seq,
             a.event_seq,
             a.shard,
             a.context_identifier,
             a.contact_id,
             a.event,
             a.event_id,
             a.occurred_at,
             a.occurred_ticks,
             a.received_at,
             a.recorded_at,
             a.changed_columns,
             a.field_values,
             a.given_columns,
             a.id_values,
             a.unreadable_columns,
             a.noticed_columns,
             a.irregular,
             a.soft_deleted,
             a.hard_deleted,
             a.outcome,
             a.effect,
             a.changed_by_associate_id,
             a.webhook_name,
             a.origin,
             a.last_known,
             a.chain_seq,
             a.chain,
             a.salt,
             a.commitment,
             a.erased_columns,
             public.contactmirror_rank(a.event) AS event_rank
            FROM public.contact_audit_log a
           WHERE (a.audit_seq = contactmirror_irregular_changes.audit_seq)
         ), around AS (
          SELECT b.field_values,
             b.changed_columns,
             b.erased_columns,
             b.changed_by_associate_id,
             b.occurred_ticks,
             public.contactmirror_rank(b.event) AS event_rank,
             b.event_id,
             (b.occurred_ticks = a.occurred_ticks) AS tied,
             (ROW(b.occurred_ticks, public.contactmirror_rank(b.event), b.event_id) < ROW(a.occurred_ticks, a.event_rank, a.event_id)) AS before
            FROM (fact a
              JOIN public.contact_audit_log b ON (((b.context_identifier = a.context_identifier) AND (b.contact_id = a.contact_id) AND (b.outcome IS NOT NULL) AND (b.occurred_ticks <= a.occurred_ticks) AND (b.audit_seq <> a.audit_seq))))
         )
  SELECT ARRAY( SELECT DISTINCT k.source_name
            FROM ((fact a
              CROSS JOIN LATERAL unnest(a.changed_columns) n(source_name))
              JOIN public.contact_columns k ON ((k.source_name = n.source_name)))
           WHERE (NOT (EXISTS ( SELECT
                    FROM around b
                   WHERE (b.tied AND b.before AND (k.source_name = ANY (b.changed_columns)) AND (NOT (b.changed_by_associate_id IS DISTINCT FROM a.changed_by_associate_id)) AND ((b.erased_columns IS NOT NULL) OR (a.erased_columns IS NOT NULL) OR (NOT (public.contactmirror_value(k.type, k.source_name, (b.field_values -> k.source_name)) IS DISTINCT FROM public.contactmirror_value(k.type, k.source_name, (a.field_values -> k.source_name)))))))))
         UNION ALL
          SELECT k.source_name
            FROM (((fact a
              CROSS JOIN LATERAL jsonb_each((a.field_values - a.changed_columns)) g(source_name, value))
              JOIN public.contact_columns k ON ((k.source_name = g.source_name)))
              CROSS JOIN LATERAL ( SELECT (b.field_values -> k.source_name) AS value
                    FROM around b
                   WHERE ((NOT b.tied) AND ((b.field_values ? k.source_name) OR (k.source_name = ANY ((b.changed_columns || b.erased_columns)))))
                   ORDER BY b.occurred_ticks DESC, b.event_rank DESC, b.event_id DESC
                  LIMIT 1) m)
           WHERE ((m.value IS DISTINCT FROM g.value) AND (public.contactmirror_value(k.type, k.source_name, m.value) <> public.contactmirror_value(k.type, k.source_name, g.value)) AND (NOT (EXISTS ( SELECT
                    FROM around b
                   WHERE (b.tied AND ((k.source_name = ANY (b.changed_columns)) OR (b.before AND (public.contactmirror_value(k.type, k.source_name, (b.field_values -> k.source_name)) = public.contactmirror_value(k.type, k.source_name, g.value)))))))))) AS "array";
END;

COMMENT ON FUNCTION public.contactmirror_irregular_changes(audit_seq bigint) IS 'What a row of contact_audit_log changed, of a contact with irregular rows: the columns that it names, and those that it noticed, computed from the contact''s facts.';

CREATE TABLE public.contact_tombstones (
    context_identifier text NOT NULL,
    contact_id bigint NOT NULL,
    deleted_at timestamp with time zone NOT NULL,
    event_seq bigint NOT NULL,
    occurred_ticks bigint NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT contact_tombstones_contact_id CHECK ((contact_id > 0))
);

COMMENT ON TABLE public.contact_tombstones IS 'Contacts that were hard-deleted. No later event brings one back into contacts.';

COMMENT ON COLUMN public.contact_tombstones.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.contact_tombstones.contact_id IS 'The contact.';

COMMENT ON COLUMN public.contact_tombstones.deleted_at IS 'When it was hard-deleted, cut to microseconds: of several hard deletes the earliest.';

COMMENT ON COLUMN public.contact_tombstones.event_seq IS 'The event that says so, in webhook_events.';

COMMENT ON COLUMN public.contact_tombstones.occurred_ticks IS 'When it was hard-deleted, in units of 100 ns since 1970-01-01 UTC.';

COMMENT ON COLUMN public.contact_tombstones.event_id IS 'EventId of that event.';

CREATE VIEW public.contact_changes AS
 SELECT c.context_identifier,
    c.contact_id,
    c.column_name,
    c.kind,
    c.occurred_at,
    c.not_before,
    c.old_value,
    c.new_value,
    (c.old_value #>> '{}'::text[]) AS old_text,
    (c.new_value #>> '{}'::text[]) AS new_text,
    c.value_known,
        CASE
            WHEN c.value_known THEN 'event'::text
            ELSE NULL::text
        END AS value_from,
    c.changed_by_associate_id,
    c.event,
    c.event_id,
    c.outcome,
    c.origin,
    c.recorded_at,
    c.event_seq,
    c.audit_seq,
    c.occurred_ticks,
    c.event_rank
   FROM ( SELECT a.context_identifier,
            a.contact_id,
            s.column_name,
                CASE
                    WHEN (n.source_name = ANY (a.changed_columns)) THEN 'changed'::text
                    ELSE 'noticed'::text
                END AS kind,
            a.occurred_at,
                CASE
                    WHEN (n.source_name <> ALL (a.changed_columns)) THEN ( SELECT b.occurred_at
                       FROM public.contact_audit_log b
                      WHERE ((b.context_identifier = a.context_identifier) AND (b.contact_id = a.contact_id) AND (b.outcome IS NOT NULL) AND (b.occurred_ticks < a.occurred_ticks) AND (b.field_values ? s.source_name))
                      ORDER BY b.occurred_ticks DESC
                     LIMIT 1)
                    ELSE NULL::timestamp with time zone
                END AS not_before,
            ( SELECT public.contactmirror_value(s.type, s.source_name, (b.field_values -> s.source_name)) AS contactmirror_value
                   FROM public.contact_audit_log b
                  WHERE ((b.context_identifier = a.context_identifier) AND (b.contact_id = a.contact_id) AND (b.outcome IS NOT NULL) AND (b.occurred_ticks <= a.occurred_ticks) AND (ROW(b.occurred_ticks, public.contactmirror_rank(b.event), b.event_id) < ROW(a.occurred_ticks, public.contactmirror_rank(a.event), a.event_id)) AND (b.field_values ? s.source_name) AND ((b.occurred_ticks < a.occurred_ticks) OR (s.source_name = ANY (b.changed_columns))))
                  ORDER BY b.occurred_ticks DESC, (public.contactmirror_rank(b.event)) DESC, b.event_id DESC
                 LIMIT 1) AS old_value,
            public.contactmirror_value(s.type, s.source_name, (a.field_values -> s.source_name)) AS new_value,
            COALESCE((a.field_values ? s.source_name), false) AS value_known,
                CASE
                    WHEN (n.source_name = ANY (a.changed_columns)) THEN a.changed_by_associate_id
                    ELSE NULL::bigint
                END AS changed_by_associate_id,
            a.event,
            a.event_id,
            a.outcome,
            a.origin,
            a.recorded_at,
            a.event_seq,
            a.audit_seq,
            a.occurred_ticks,
            public.contactmirror_rank(a.event) AS event_rank
           FROM ((((public.contact_audit_log a
             LEFT JOIN public.contact_tombstones t ON (((t.context_identifier = a.context_identifier) AND (t.contact_id = a.contact_id))))
             LEFT JOIN ( SELECT DISTINCT i_1.context_identifier,
                    i_1.contact_id
                   FROM public.contact_audit_log i_1
                  WHERE i_1.irregular) i ON (((i.context_identifier = a.context_identifier) AND (i.contact_id = a.contact_id))))
             CROSS JOIN LATERAL unnest(
                CASE
                    WHEN (i.contact_id IS NOT NULL) THEN public.contactmirror_irregular_changes(a.audit_seq)
                    WHEN (a.erased_columns IS NOT NULL) THEN a.changed_columns
                    ELSE (a.changed_columns || a.noticed_columns)
                END) n(source_name))
             JOIN public.contact_columns s ON (((s.source_name = n.source_name) AND (s.column_name <> 'contact_id'::text))))
          WHERE ((a.outcome IS NOT NULL) AND (NOT a.hard_deleted) AND ((t.contact_id IS NULL) OR (a.occurred_ticks <= t.occurred_ticks)))) c;

COMMENT ON VIEW public.contact_changes IS 'One line for each column that an event says has changed, and for each that changed although no event said so, in the source''s order also after late events, and up to the hard delete. Two events that say the same at the same Timestamp make one line. Name the tenant and the contact, or use contact_changes_between.';

COMMENT ON COLUMN public.contact_changes.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.contact_changes.contact_id IS 'The contact.';

COMMENT ON COLUMN public.contact_changes.column_name IS 'The column of contacts.';

COMMENT ON COLUMN public.contact_changes.kind IS 'changed: the event names the column in its Changes; noticed: it gives a value other than the last one known, and no event named the column. An event was lost, or SuperOffice changed the column without one.';

COMMENT ON COLUMN public.contact_changes.occurred_at IS 'SuperOffice''s Timestamp of the event, cut to microseconds. What was noticed changed after not_before and not later than this.';

COMMENT ON COLUMN public.contact_changes.not_before IS 'Of a noticed change: the Timestamp of the last event that gave the old value.';

COMMENT ON COLUMN public.contact_changes.old_value IS 'The value last known before; SQL''s NULL where none was, JSON''s null where it was NULL. Dates are in UTC.';

COMMENT ON COLUMN public.contact_changes.new_value IS 'The value that it changed to; SQL''s NULL where it is not known.';

COMMENT ON COLUMN public.contact_changes.old_text IS 'old_value as text.';

COMMENT ON COLUMN public.contact_changes.new_text IS 'new_value as text.';

COMMENT ON COLUMN public.contact_changes.value_known IS 'Whether new_value is known.';

COMMENT ON COLUMN public.contact_changes.value_from IS 'Where new_value comes from: event, the event itself; NULL where it is not known.';

COMMENT ON COLUMN public.contact_changes.changed_by_associate_id IS 'Who caused the event; NULL where it does not say, and of a noticed change: it is not known who made it.';

COMMENT ON COLUMN public.contact_changes.event IS 'SuperOffice''s name of the event.';

COMMENT ON COLUMN public.contact_changes.event_id IS 'SuperOffice''s EventId.';

COMMENT ON COLUMN public.contact_changes.outcome IS 'What became of the event: applied, no_op, superseded, after_delete.';

COMMENT ON COLUMN public.contact_changes.origin IS 'Where the fact came from: webhook, backfill, fetch or reconcile.';

COMMENT ON COLUMN public.contact_changes.recorded_at IS 'When the event was applied, by the database''s clock.';

COMMENT ON COLUMN public.contact_changes.event_seq IS 'The event in webhook_events; NULL where the fact did not come by webhook.';

COMMENT ON COLUMN public.contact_changes.audit_seq IS 'The row in contact_audit_log.';

COMMENT ON COLUMN public.contact_changes.occurred_ticks IS 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';

COMMENT ON COLUMN public.contact_changes.event_rank IS 'Order of the event''s kind among events of the same instant.';

CREATE FUNCTION public.contact_changes_between(context_identifier text, "from" timestamp with time zone, "to" timestamp with time zone) RETURNS SETOF public.contact_changes
    LANGUAGE sql STABLE PARALLEL SAFE
    SET jit TO 'off'
    BEGIN ATOMIC
 SELECT c.context_identifier,
     c.contact_id,
     c.column_name,
     c.kind,
     c.occurred_at,
     c.not_before,
     c.old_value,
     c.new_value,
     (c.old_value #>> '{}'::text[]) AS old_text,
     (c.new_value #>> '{}'::text[]) AS new_text,
     c.value_known,
     c.value_from,
     c.changed_by_associate_id,
     c.event,
     c.event_id,
     c.outcome,
     c.origin,
     c.recorded_at,
     c.event_seq,
     c.audit_seq,
     c.occurred_ticks,
     c.event_rank
    FROM ( SELECT c_1.context_identifier,
             c_1.contact_id,
             c_1.column_name,
             c_1.kind,
             c_1.occurred_at,
             c_1.not_before,
             c_1.old_value,
             c_1.new_value,
             c_1.value_known,
             c_1.value_from,
             c_1.changed_by_associate_id,
             c_1.event,
             c_1.event_id,
             c_1.outcome,
             c_1.origin,
             c_1.recorded_at,
             c_1.event_seq,
             c_1.audit_seq,
             c_1.occurred_ticks,
             c_1.event_rank
            FROM public.contact_changes c_1
           WHERE ((c_1.context_identifier = contact_changes_between.context_identifier) AND (c_1.occurred_at >= contact_changes_between."from") AND (c_1.occurred_at < contact_changes_between."to"))
          OFFSET 0) c;
END;

COMMENT ON FUNCTION public.contact_changes_between(context_identifier text, "from" timestamp with time zone, "to" timestamp with time zone) IS 'contact_changes_between(context_identifier, from, to): the lines of contact_changes of a tenant whose event occurred from one time on and before another. Reads only the events between, and what their contacts'' values were before.';

CREATE FUNCTION public.contactmirror_read_integer(value text, lowest bigint, highest bigint) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $_$
begin
    if value like '[I:%]' then
        value := substr(value, 4, length(value) - 4);
    end if;
    if octet_length(value) > 32 or value !~ '^-?(0|[1-9][0-9]*)(\.0+)?$' then
        return null;
    end if;
    if value::numeric not between lowest and highest then
        return null;
    end if;
    return value::numeric;
end
$_$;

COMMENT ON FUNCTION public.contactmirror_read_integer(value text, lowest bigint, highest bigint) IS 'The integer from lowest to highest that value is: 6, 6.0 or [I:6], without leading zeros and in at most 32 characters; NULL for any other text.';

CREATE FUNCTION public.contactmirror_bigint(value text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ((octet_length(value) < 19) AND (value <> ''::text) AND (value !~~ '0_%'::text) AND (ltrim(value, '0123456789'::text) = ''::text)) THEN (value)::bigint ELSE public.contactmirror_read_integer(value, '-9223372036854775808'::bigint, '9223372036854775807'::bigint) END;

COMMENT ON FUNCTION public.contactmirror_bigint(value text) IS 'The bigint that value is, as events write it: 6, 6.0 or [I:6]; NULL where it is none.';

CREATE FUNCTION public.contactmirror_boolean(value text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (value = ANY (ARRAY['1'::text, 'true'::text, 'True'::text, '[B:1]'::text, '[B:true]'::text, '[B:True]'::text, '[I:1]'::text, '[I:true]'::text, '[I:True]'::text])) THEN true WHEN (value = ANY (ARRAY['0'::text, 'false'::text, 'False'::text, '[B:0]'::text, '[B:false]'::text, '[B:False]'::text, '[I:0]'::text, '[I:false]'::text, '[I:False]'::text])) THEN false ELSE NULL::boolean END;

COMMENT ON FUNCTION public.contactmirror_boolean(value text) IS 'The flag that value is, as events write it: 1, true, True, [B:1] or [I:1]; NULL where it is none.';

CREATE FUNCTION public.contactmirror_integer(value text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ((octet_length(value) < 10) AND (value <> ''::text) AND (value !~~ '0_%'::text) AND (ltrim(value, '0123456789'::text) = ''::text)) THEN (value)::integer ELSE (public.contactmirror_read_integer(value, ('-2147483648'::integer)::bigint, (2147483647)::bigint))::integer END;

COMMENT ON FUNCTION public.contactmirror_integer(value text) IS 'The integer that value is, as events write it: 6, 6.0 or [I:6]; NULL where it is none.';

CREATE FUNCTION public.contactmirror_deleted(value text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN COALESCE(public.contactmirror_integer(value), (public.contactmirror_boolean(value))::integer);

COMMENT ON FUNCTION public.contactmirror_deleted(value text) IS 'The value of the deleted column as events write it: an integer or a flag; NULL where it is neither.';

CREATE FUNCTION public.contactmirror_read_time(value text) RETURNS timestamp without time zone
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
declare
    clock    text := left(value, 19); -- 2006-01-02T15:04:05
    rest     text := substr(value, 20);
    digits   text;
    fields   bigint; -- 20060102150405
    fraction text := '';
    days     bigint;
    minutes  integer := 0;
    read     timestamp;
begin
    if value like '[DT:__/__/____ __:__:__%]' then
        clock := substr(value, 11, 4) || '-' || substr(value, 5, 2) || '-' || substr(value, 8, 2) || 'T' || substr(value, 16, 8);
        rest := substr(value, 24, length(value) - 24);
        if ltrim(rest, '.0123456789') <> '' then
            return null;
        end if;
    end if;

    digits := translate(clock, '-T:', '');
    if clock not like '____-__-__T__:__:__' or octet_length(digits) <> 14 or ltrim(digits, '0123456789') <> '' then
        return null;
    end if;
    fields := digits::bigint;
    days := case fields / 100000000 % 100
        when 2 then
            case when fields / 10000000000 % 4 = 0 and (fields / 10000000000 % 100 <> 0 or fields / 10000000000 % 400 = 0) then 29 else 28 end
        when 4 then 30
        when 6 then 30
        when 9 then 30
        when 11 then 30
        else 31
    end;
    if fields / 100000000 % 100 not between 1 and 12 or fields / 1000000 % 100 not between 1 and days
        or fields % 1000000 > 235959 or fields % 10000 > 5959 or fields % 100 > 59
    then
        return null;
    end if;

    if rest like '.%' then
        digits := ltrim(substr(rest, 2), '0123456789');
        fraction := left(rest, length(rest) - length(digits));
        if fraction = '.' then
            return null;
        end if;
        rest := digits;
    end if;
    if rest <> '' and rest <> 'Z' then
        digits := substr(rest, 2, 2) || substr(rest, 5, 2);
        if rest not like '___:__' or left(rest, 1) not in ('+', '-') or ltrim(digits, '0123456789') <> '' then
            return null;
        end if;
        minutes := left(digits, 2)::integer * 60 + right(digits, 2)::integer;
        if minutes > 14 * 60 or right(digits, 2)::integer > 59 then
            return null;
        end if;
        if rest like '-%' then
            minutes := -minutes;
        end if;
    end if;

    if fields < 10000000000 then -- PostgreSQL has no year 0, and no offset leads out of what is not set
        return '-infinity';
    end if;
    read := (clock || left(fraction, 7))::timestamp - minutes * interval '1 minute';
    if read < '0001-01-03' or read between '1759-12-31' and '1760-01-02' then
        return '-infinity';
    end if;
    return case when read < '10000-01-01' then read end;
end
$$;

COMMENT ON FUNCTION public.contactmirror_read_time(value text) IS 'The date that value is, in UTC, cut to microseconds; -infinity where it means that no date is set, NULL for any other text.';

CREATE FUNCTION public.contactmirror_second(first jsonb, second jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN second;

COMMENT ON FUNCTION public.contactmirror_second(first jsonb, second jsonb) IS 'Its second argument.';

CREATE FUNCTION public.contactmirror_settle(settled jsonb, named text[], given jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((settled - named) || COALESCE(given, '{}'::jsonb));

COMMENT ON FUNCTION public.contactmirror_settle(settled jsonb, named text[], given jsonb) IS 'What is settled after a fact: what it gives, and what it does not name.';

CREATE FUNCTION public.contactmirror_usual_clock(value text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((value ~~ '20__-__-__T__:__:__%'::text) AND (substr(value, 3, 2) = ANY ('{00,01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59}'::text[])) AND (substr(value, 6, 2) = ANY ('{01,02,03,04,05,06,07,08,09,10,11,12}'::text[])) AND ((substr(value, 9, 2) = ANY ('{01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28}'::text[])) OR (substr(value, 6, 5) = ANY ('{01-29,01-30,01-31,03-29,03-30,03-31,04-29,04-30,05-29,05-30,05-31,06-29,06-30,07-29,07-30,07-31,08-29,08-30,08-31,09-29,09-30,10-29,10-30,10-31,11-29,11-30,12-29,12-30,12-31}'::text[]))) AND (substr(value, 12, 2) = ANY ('{00,01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23}'::text[])) AND (substr(value, 15, 2) = ANY ('{00,01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59}'::text[])) AND (substr(value, 18, 2) = ANY ('{00,01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59}'::text[])));

COMMENT ON FUNCTION public.contactmirror_usual_clock(value text) IS 'Whether value begins with a date and time of day of 2000 to 2059, except 29 February. Hash lookups are faster than a regular expression.';

CREATE FUNCTION public.contactmirror_time(value text) RETURNS timestamp without time zone
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN (value = ANY (ARRAY['0001-01-01T00:00:00'::text, '0001-01-01T00:00:00Z'::text])) THEN NULL::timestamp without time zone WHEN (((octet_length(value) = 19) OR ((value ~~ '___________________._%'::text) AND (ltrim(substr(value, 21), '0123456789'::text) = ''::text))) AND public.contactmirror_usual_clock(value)) THEN ("left"(value, 26))::timestamp without time zone WHEN ((value ~~ '___________________._%+0_:00'::text) AND (ltrim(substr(value, 21), '0123456789'::text) = ANY ('{+00:00,+01:00,+02:00,+03:00,+04:00,+05:00,+06:00,+07:00,+08:00,+09:00}'::text[])) AND public.contactmirror_usual_clock(value)) THEN ((("left"(value, LEAST(26, (length(value) - 6))) || "right"(value, 6)))::timestamp with time zone AT TIME ZONE 'UTC'::text) WHEN (((value ~~ '___________________Z'::text) OR ((value ~~ '___________________._%Z'::text) AND (ltrim(substr(value, 21), '0123456789'::text) = 'Z'::text))) AND public.contactmirror_usual_clock(value)) THEN (rtrim("left"(value, 26), 'Z'::text))::timestamp without time zone ELSE NULLIF(public.contactmirror_read_time(value), '-infinity'::timestamp without time zone) END;

COMMENT ON FUNCTION public.contactmirror_time(value text) IS 'The date that value is, as events write it, in UTC, cut to microseconds; NULL where it means that no date is set, or is none.';

CREATE AGGREGATE public.contactmirror_last(jsonb) (
    SFUNC = public.contactmirror_second,
    STYPE = jsonb,
    PARALLEL = safe
);

COMMENT ON AGGREGATE public.contactmirror_last(jsonb) IS 'The last of the values that are not SQL''s NULL, in order.';

CREATE AGGREGATE public.contactmirror_settled(text[], jsonb) (
    SFUNC = public.contactmirror_settle,
    STYPE = jsonb,
    INITCOND = '{}',
    PARALLEL = safe
);

COMMENT ON AGGREGATE public.contactmirror_settled(text[], jsonb) IS 'The columns whose last mention gave a value, over the names and field_values of facts in order.';

CREATE AGGREGATE public.contactmirror_values(jsonb) (
    SFUNC = jsonb_concat,
    STYPE = jsonb,
    INITCOND = '{}',
    PARALLEL = safe
);

COMMENT ON AGGREGATE public.contactmirror_values(jsonb) IS 'The last value given of each column, over field_values in order.';

CREATE VIEW public.contact_history AS
 SELECT v.context_identifier,
    v.contact_id,
    v.occurred_at AS valid_from,
    COALESCE(lead(v.occurred_at) OVER in_order, v.hard_deleted_at) AS valid_to,
    v.name,
    v.kananame,
    v.department,
    v.number1,
    v.number2,
    v.org_nr,
    v.sound_ex,
    v.dbi_key,
    v.associate_id,
    v.country_id,
    v.business_idx,
    v.category_idx,
    v.registered_associate_id,
    v.updated_associate_id,
    v.text_id,
    v.mother_id,
    v.userdef_id,
    v.userdef2_id,
    v.group_id,
    v.tz_location_id,
    v.ticket_priority_id,
    v.support_language_id,
    v.support_associate_id,
    v.support_person_id,
    v.dbi_agent_id,
    v.source,
    v.active_interests,
    v.updated_count,
    v.deleted,
    v.active_erp_links,
    v.xstop,
    v.nomailing,
    v.registered,
    v.updated,
    v.deleted_date,
    v.dbi_last_syncronized,
    v.dbi_last_modified,
    v.soft_deleted,
    v.soft_deleted_at,
    v.pending_columns,
    v.changed_by_associate_id,
    v.event,
    v.event_id,
    v.audit_seq,
    v.occurred_at,
    v.occurred_ticks,
    v.event_rank
   FROM ( SELECT f.context_identifier,
            f.contact_id,
            f.occurred_at,
            f.occurred_ticks,
            f.event_rank,
            f.event,
            f.event_id,
            f.audit_seq,
            f.changed_by_associate_id,
            f.hard_deleted_at,
            x.name,
            x.kananame,
            x.department,
            x.number1,
            x.number2,
            x.org_nr,
            x.sound_ex,
            x.dbi_key,
            x.associate_id,
            x.country_id,
            x.business_idx,
            x.category_idx,
            x.registered_associate_id,
            x.updated_associate_id,
            x.text_id,
            x.mother_id,
            x.userdef_id,
            x.userdef2_id,
            x.group_id,
            x.tz_location_id,
            x.ticket_priority_id,
            x.support_language_id,
            x.support_associate_id,
            x.support_person_id,
            x.dbi_agent_id,
            x.source,
            x.active_interests,
            x.updated_count,
            x.deleted,
            x.active_erp_links,
            x.xstop,
            x.nomailing,
            x.registered,
            x.updated,
            x.deleted_date,
            x.dbi_last_syncronized,
            x.dbi_last_modified,
            b.soft_deleted,
            b.soft_deleted_at,
            p.pending_columns,
            (ROW(x.name, x.kananame, x.department, x.number1, x.number2, x.org_nr, x.sound_ex, x.dbi_key, x.associate_id, x.country_id, x.business_idx, x.category_idx, x.registered_associate_id, x.updated_associate_id, x.text_id, x.mother_id, x.userdef_id, x.userdef2_id, x.group_id, x.tz_location_id, x.ticket_priority_id, x.support_language_id, x.support_associate_id, x.support_person_id, x.dbi_agent_id, x.source, x.active_interests, x.updated_count, x.deleted, x.active_erp_links, x.xstop, x.nomailing, x.registered, x.updated, x.deleted_date, x.dbi_last_syncronized, x.dbi_last_modified, b.soft_deleted, b.soft_deleted_at, p.pending_columns) IS DISTINCT FROM lag(ROW(x.name, x.kananame, x.department, x.number1, x.number2, x.org_nr, x.sound_ex, x.dbi_key, x.associate_id, x.country_id, x.business_idx, x.category_idx, x.registered_associate_id, x.updated_associate_id, x.text_id, x.mother_id, x.userdef_id, x.userdef2_id, x.group_id, x.tz_location_id, x.ticket_priority_id, x.support_language_id, x.support_associate_id, x.support_person_id, x.dbi_agent_id, x.source, x.active_interests, x.updated_count, x.deleted, x.active_erp_links, x.xstop, x.nomailing, x.registered, x.updated, x.deleted_date, x.dbi_last_syncronized, x.dbi_last_modified, b.soft_deleted, b.soft_deleted_at, p.pending_columns)) OVER (PARTITION BY f.context_identifier, f.contact_id ORDER BY f.occurred_at)) AS differs
           FROM ((((( SELECT f_1.context_identifier,
                    f_1.contact_id,
                    f_1.occurred_at,
                    f_1.occurred_ticks,
                    f_1.event_rank,
                    f_1.event,
                    f_1.event_id,
                    f_1.audit_seq,
                    f_1.changed_by_associate_id,
                    f_1.soft_deleted,
                    f_1.deleted_date,
                    f_1.known,
                    f_1.settled,
                    f_1.stretch,
                    f_1.gone,
                    f_1.hard_deleted_at,
                    f_1.next_at,
                    public.contactmirror_last(f_1.deleted_date) OVER in_stretch AS last_deleted_date,
                    min(f_1.occurred_at) FILTER (WHERE f_1.soft_deleted) OVER in_stretch AS first_deleted_at
                   FROM ( SELECT a.context_identifier,
                            a.contact_id,
                            a.occurred_at,
                            a.occurred_ticks,
                            public.contactmirror_rank(a.event) AS event_rank,
                            a.event,
                            a.event_id,
                            a.audit_seq,
                            a.changed_by_associate_id,
                            a.soft_deleted,
                                CASE
                                    WHEN a.soft_deleted THEN to_jsonb((public.contactmirror_time((a.field_values ->> 'DeletedDate'::text)) AT TIME ZONE 'UTC'::text))
                                    ELSE NULL::jsonb
                                END AS deleted_date,
                            public.contactmirror_values(a.field_values) OVER in_order AS known,
                            public.contactmirror_settled(((a.changed_columns || a.unreadable_columns) || a.erased_columns), a.field_values) OVER in_order AS settled,
                            count(*) FILTER (WHERE (NOT a.soft_deleted)) OVER in_order AS stretch,
                            bool_or(a.hard_deleted) OVER in_order AS gone,
                            min(a.occurred_at) FILTER (WHERE a.hard_deleted) OVER (PARTITION BY a.context_identifier, a.contact_id) AS hard_deleted_at,
                            lead(a.occurred_at) OVER in_order AS next_at
                           FROM public.contact_audit_log a
                          WHERE (a.outcome IS NOT NULL)
                          WINDOW in_order AS (PARTITION BY a.context_identifier, a.contact_id ORDER BY a.occurred_ticks, (public.contactmirror_rank(a.event)), a.event_id ROWS UNBOUNDED PRECEDING)) f_1
                  WINDOW in_stretch AS (PARTITION BY f_1.context_identifier, f_1.contact_id, f_1.stretch ORDER BY f_1.occurred_ticks, f_1.event_rank, f_1.event_id ROWS UNBOUNDED PRECEDING)) f
             CROSS JOIN LATERAL jsonb_to_record(f.known) r(name text, kananame text, department text, number1 text, number2 text, "orgNr" text, "soundEx" text, dbi_key text, associate_id text, country_id text, business_idx text, category_idx text, registered_associate_id text, updated_associate_id text, text_id text, mother_id text, userdef_id text, userdef2_id text, group_id text, "tzLocationId" text, "ticketPriorityId" text, "supportLanguageId" text, "supportAssociateId" text, "supportPersonId" text, dbi_agent_id text, source text, "activeInterests" text, "updatedCount" text, deleted text, "activeErpLinks" text, xstop text, nomailing text, registered text, updated text, "DeletedDate" text, dbi_last_syncronized text, dbi_last_modified text))
             CROSS JOIN LATERAL ( SELECT r.name,
                    r.kananame,
                    r.department,
                    r.number1,
                    r.number2,
                    r."orgNr" AS org_nr,
                    r."soundEx" AS sound_ex,
                    r.dbi_key,
                    public.contactmirror_bigint(r.associate_id) AS associate_id,
                    public.contactmirror_bigint(r.country_id) AS country_id,
                    public.contactmirror_bigint(r.business_idx) AS business_idx,
                    public.contactmirror_bigint(r.category_idx) AS category_idx,
                    public.contactmirror_bigint(r.registered_associate_id) AS registered_associate_id,
                    public.contactmirror_bigint(r.updated_associate_id) AS updated_associate_id,
                    public.contactmirror_bigint(r.text_id) AS text_id,
                    public.contactmirror_bigint(r.mother_id) AS mother_id,
                    public.contactmirror_bigint(r.userdef_id) AS userdef_id,
                    public.contactmirror_bigint(r.userdef2_id) AS userdef2_id,
                    public.contactmirror_bigint(r.group_id) AS group_id,
                    public.contactmirror_bigint(r."tzLocationId") AS tz_location_id,
                    public.contactmirror_bigint(r."ticketPriorityId") AS ticket_priority_id,
                    public.contactmirror_bigint(r."supportLanguageId") AS support_language_id,
                    public.contactmirror_bigint(r."supportAssociateId") AS support_associate_id,
                    public.contactmirror_bigint(r."supportPersonId") AS support_person_id,
                    public.contactmirror_bigint(r.dbi_agent_id) AS dbi_agent_id,
                    public.contactmirror_integer(r.source) AS source,
                    public.contactmirror_integer(r."activeInterests") AS active_interests,
                    public.contactmirror_integer(r."updatedCount") AS updated_count,
                    public.contactmirror_deleted(r.deleted) AS deleted,
                    public.contactmirror_integer(r."activeErpLinks") AS active_erp_links,
                    public.contactmirror_boolean(r.xstop) AS xstop,
                    public.contactmirror_boolean(r.nomailing) AS nomailing,
                    (public.contactmirror_time(r.registered) AT TIME ZONE 'UTC'::text) AS registered,
                    (public.contactmirror_time(r.updated) AT TIME ZONE 'UTC'::text) AS updated,
                    (public.contactmirror_time(r."DeletedDate") AT TIME ZONE 'UTC'::text) AS deleted_date,
                    public.contactmirror_time(r.dbi_last_syncronized) AS dbi_last_syncronized,
                    public.contactmirror_time(r.dbi_last_modified) AS dbi_last_modified
                 OFFSET 0) x)
             CROSS JOIN LATERAL ( SELECT (f.first_deleted_at IS NOT NULL) AS soft_deleted,
                        CASE
                            WHEN (f.first_deleted_at IS NOT NULL) THEN COALESCE(((f.last_deleted_date #>> '{}'::text[]))::timestamp with time zone, f.first_deleted_at)
                            ELSE NULL::timestamp with time zone
                        END AS soft_deleted_at) b)
             CROSS JOIN LATERAL ( SELECT COALESCE(array_agg(c.column_name ORDER BY c.place) FILTER (WHERE (NOT (f.settled ? c.source_name))), '{}'::text[]) AS pending_columns
                   FROM UNNEST(ARRAY['name'::text, 'kananame'::text, 'department'::text, 'number1'::text, 'number2'::text, 'orgNr'::text, 'soundEx'::text, 'dbi_key'::text, 'associate_id'::text, 'country_id'::text, 'business_idx'::text, 'category_idx'::text, 'registered_associate_id'::text, 'updated_associate_id'::text, 'text_id'::text, 'mother_id'::text, 'userdef_id'::text, 'userdef2_id'::text, 'group_id'::text, 'tzLocationId'::text, 'ticketPriorityId'::text, 'supportLanguageId'::text, 'supportAssociateId'::text, 'supportPersonId'::text, 'dbi_agent_id'::text, 'source'::text, 'activeInterests'::text, 'updatedCount'::text, 'deleted'::text, 'activeErpLinks'::text, 'xstop'::text, 'nomailing'::text, 'registered'::text, 'updated'::text, 'DeletedDate'::text, 'dbi_last_syncronized'::text, 'dbi_last_modified'::text], ARRAY['name'::text, 'kananame'::text, 'department'::text, 'number1'::text, 'number2'::text, 'org_nr'::text, 'sound_ex'::text, 'dbi_key'::text, 'associate_id'::text, 'country_id'::text, 'business_idx'::text, 'category_idx'::text, 'registered_associate_id'::text, 'updated_associate_id'::text, 'text_id'::text, 'mother_id'::text, 'userdef_id'::text, 'userdef2_id'::text, 'group_id'::text, 'tz_location_id'::text, 'ticket_priority_id'::text, 'support_language_id'::text, 'support_associate_id'::text, 'support_person_id'::text, 'dbi_agent_id'::text, 'source'::text, 'active_interests'::text, 'updated_count'::text, 'deleted'::text, 'active_erp_links'::text, 'xstop'::text, 'nomailing'::text, 'registered'::text, 'updated'::text, 'deleted_date'::text, 'dbi_last_syncronized'::text, 'dbi_last_modified'::text]) WITH ORDINALITY c(source_name, column_name, place)) p)
          WHERE ((NOT f.gone) AND (f.next_at IS DISTINCT FROM f.occurred_at))) v
  WHERE v.differs
  WINDOW in_order AS (PARTITION BY v.context_identifier, v.contact_id ORDER BY v.occurred_at);

COMMENT ON VIEW public.contact_history IS 'One line for each version of a contact at the source, in which some column, the soft-delete flag or pending_columns differs from the version before: a slowly changing dimension of type 2. Name the tenant and the contact, or use the function of the same name.';

COMMENT ON COLUMN public.contact_history.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.contact_history.contact_id IS 'The contact.';

COMMENT ON COLUMN public.contact_history.valid_from IS 'Since when the contact was so: the Timestamp of the event that made the version, cut to microseconds.';

COMMENT ON COLUMN public.contact_history.valid_to IS 'Until when, not included: the next version''s valid_from, or the time of the hard delete; NULL while it is still so.';

COMMENT ON COLUMN public.contact_history.soft_deleted IS 'Whether it was in the recycle bin.';

COMMENT ON COLUMN public.contact_history.soft_deleted_at IS 'Since when; NULL where it was not.';

COMMENT ON COLUMN public.contact_history.pending_columns IS 'Columns whose value then is not known; an older value may stand in the version.';

COMMENT ON COLUMN public.contact_history.changed_by_associate_id IS 'Who caused the event that made the version; NULL where it does not say.';

COMMENT ON COLUMN public.contact_history.event IS 'SuperOffice''s name of that event.';

COMMENT ON COLUMN public.contact_history.event_id IS 'Its EventId.';

COMMENT ON COLUMN public.contact_history.audit_seq IS 'Its row in contact_audit_log.';

COMMENT ON COLUMN public.contact_history.occurred_at IS 'The same as valid_from.';

COMMENT ON COLUMN public.contact_history.occurred_ticks IS 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';

COMMENT ON COLUMN public.contact_history.event_rank IS 'Order of the event''s kind among events of the same instant.';

CREATE FUNCTION public.contact_history(context_identifier text, contact_id bigint) RETURNS SETOF public.contact_history
    LANGUAGE sql STABLE ROWS 10 PARALLEL SAFE
    BEGIN ATOMIC
 SELECT h.context_identifier,
     h.contact_id,
     h.valid_from,
     h.valid_to,
     h.name,
     h.kananame,
     h.department,
     h.number1,
     h.number2,
     h.org_nr,
     h.sound_ex,
     h.dbi_key,
     h.associate_id,
     h.country_id,
     h.business_idx,
     h.category_idx,
     h.registered_associate_id,
     h.updated_associate_id,
     h.text_id,
     h.mother_id,
     h.userdef_id,
     h.userdef2_id,
     h.group_id,
     h.tz_location_id,
     h.ticket_priority_id,
     h.support_language_id,
     h.support_associate_id,
     h.support_person_id,
     h.dbi_agent_id,
     h.source,
     h.active_interests,
     h.updated_count,
     h.deleted,
     h.active_erp_links,
     h.xstop,
     h.nomailing,
     h.registered,
     h.updated,
     h.deleted_date,
     h.dbi_last_syncronized,
     h.dbi_last_modified,
     h.soft_deleted,
     h.soft_deleted_at,
     h.pending_columns,
     h.changed_by_associate_id,
     h.event,
     h.event_id,
     h.audit_seq,
     h.occurred_at,
     h.occurred_ticks,
     h.event_rank
    FROM public.contact_history h
   WHERE ((h.context_identifier = contact_history.context_identifier) AND (h.contact_id = contact_history.contact_id));
END;

COMMENT ON FUNCTION public.contact_history(context_identifier text, contact_id bigint) IS 'contact_history(context_identifier, contact_id): the versions of one contact.';

CREATE FUNCTION public.contactmirror_advance_freshness() RETURNS boolean
    LANGUAGE plpgsql
    SET jit TO 'off'
    AS $$
declare
    identity constant text := contactmirror_database_identity();
    f        freshness;
    clock    timestamptz;
    oldest   timestamptz; -- what the receivers' heartbeats allow
    newest   timestamptz;
    spooled  timestamptz;
    received timestamptz;
    everyone timestamptz; -- for a tenant that no row names
begin
    perform contactmirror_require_read_committed();
    insert into freshness (id, database_identity) values (1, identity) on conflict (id) do nothing;
    select * into f from freshness r where r.id = 1 for update skip locked;
    if not found then
        return false;
    end if;
    clock := clock_timestamp();
    if f.database_identity <> identity then -- a restored dump: receivers of the other database say nothing
        f.last_heartbeat_at := f.complete_through;
    end if;

    select min(w.since) filter (where w.place = 'receiver'), max(w.since) filter (where w.place = 'receiver'),
        min(w.since) filter (where w.place = 'spool')
    into oldest, newest, spooled
    from mirror_waiting w
    where w.place in ('receiver', 'spool');
    f.last_heartbeat_at := greatest(f.last_heartbeat_at, newest);
    received := coalesce(oldest, f.last_heartbeat_at);
    if received is not null then
        received := least(received, spooled, clock);
    end if;

    -- Events whose commit takes longer than their receiver waits for it are in no
    -- spool if that could not take them either. They are seen once it has ended.
    select format('%s of %s in %s', coalesce('with process id ' || l.pid, 'prepared'), coalesce(a.usename, 'unknown'), a.datname)
    into f.waits_for
    from pg_locks l
    left join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'relation' and l.database = (select d.oid from pg_database d where d.datname = current_database())
        and l.relation = 'webhook_events'::regclass and l.mode = 'RowExclusiveLock'
        and l.pid is distinct from pg_backend_pid()
        and coalesce(a.xact_start, '-infinity') < clock - interval '500 milliseconds'
    order by a.xact_start
    limit 1;

    if received is not null and f.waits_for is null then
        select least(received, min(w.since)) into everyone
        from mirror_waiting w
        where w.place = 'quarantine' and w.context_identifier is null and (w.vouched_for is null or '*' = any (w.vouched_for));
        everyone := greatest(f.complete_through, everyone);

        with waiting as materialized (
            select w.context_identifier, w.since, w.vouched_for, w.vouched_except
            from mirror_waiting w
            where w.place in ('queue', 'quarantine')
        ), known as (
            select w.context_identifier, min(w.since) as since
            from waiting w
            where w.context_identifier is not null
            group by w.context_identifier
        ), named as (
            select k.context_identifier from known k
            union
            select v.tenant from waiting w cross join unnest(w.vouched_for || w.vouched_except) as v (tenant) where v.tenant <> '*'
            union
            select t.context_identifier from tenant_freshness t where t.complete_through is not null
        ), reached as (
            select n.context_identifier, greatest(
                coalesce(t.complete_through, f.complete_through),
                least(received, k.since, (
                    select min(w.since)
                    from waiting w
                    where w.context_identifier is null
                        and contactmirror_vouched(n.context_identifier, w.vouched_for, w.vouched_except)
                ))
            ) as through
            from named n
            left join tenant_freshness t using (context_identifier)
            left join known k using (context_identifier)
        )
        insert into tenant_freshness as t (context_identifier, complete_through)
        select r.context_identifier, nullif(r.through, everyone)
        from reached r
        where r.through <> everyone or exists (
            select from tenant_freshness s where s.context_identifier = r.context_identifier and s.complete_through is not null
        )
        order by r.context_identifier
        on conflict (context_identifier) do update
        set complete_through = excluded.complete_through
        where t.complete_through is distinct from excluded.complete_through;
        delete from tenant_freshness t where t.complete_through is null and t.late_deliveries = 0;
        f.complete_through := everyone;
    end if;

    update freshness r
    set database_identity = identity,
        complete_through = f.complete_through,
        last_heartbeat_at = f.last_heartbeat_at,
        waits_for = f.waits_for,
        advanced_at = clock
    where r.id = 1;
    return true;
end
$$;

COMMENT ON FUNCTION public.contactmirror_advance_freshness() IS 'Brings complete_through of every tenant up to date, and never takes it back. Returns false, and does nothing, while another session does it. Reads the whole queue.';

CREATE FUNCTION public.contactmirror_advance_sequences() RETURNS TABLE(sequence_name text, numbers text, moved_from bigint, moved_to bigint, options text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $$
declare
    -- Only these tables are looked at: others in the schema are their users' own, whatever
    -- their columns are called and however they are numbered.
    own constant name[] := array[
        'webhook_events', 'webhook_bodies', 'duplicate_deliveries', 'quarantined_deliveries', 'sync_queue',
        'contact_audit_log', 'contact_tombstones', 'log_horizon', 'accounting_seal', 'sealed_accounts', 'erasures',
        'operator_actions', 'goose_db_version'
    ];
    s record;
    next bigint;
    highest bigint;
begin
    perform contactmirror_require_read_committed();
    perform contactmirror_require_restored(sealed => true);
    for s in
        select q.oid::regclass as sequence, format('%s.%I', t.oid::regclass, a.attname) as numbered,
            -- Numbers that sessions keep for later, or that go down or round, come out of order.
            nullif(concat_ws(' ',
                case when p.seqincrement <> 1 then 'increment ' || p.seqincrement end,
                case when p.seqcache <> 1 then 'cache ' || p.seqcache end,
                case when p.seqcycle then 'cycle' end
            ), '') as wrong_options,
            format('select last_value + is_called::integer from %s', q.oid::regclass) as next_number,
            -- Numbers are held against all columns of the name, where an index makes
            -- that cheap: a row may refer to an event that is gone.
            (
                select format('select max(n) from (%s) all_columns', string_agg(
                    format('select max(%I) as n from %s', c.attname, c.attrelid::regclass), ' union all '
                ))
                from pg_attribute c
                join pg_class r on r.oid = c.attrelid
                where c.attname in (a.attname, 'noted_' || a.attname) and c.atttypid = a.atttypid and not c.attisdropped
                    and r.relnamespace = h.relnamespace and r.relname = any (own) and r.relkind in ('r', 'p')
                    and (
                        c.attrelid = t.oid or c.attrelid = h.oid
                        or exists (select from pg_index i where i.indrelid = r.oid and i.indkey[0] = c.attnum and i.indisvalid)
                    )
            ) as highest_number
        from pg_class h
        join pg_class q on q.relnamespace = h.relnamespace and q.relkind = 'S'
        join pg_sequence p on p.seqrelid = q.oid
        join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = q.oid
            and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') -- owned by a column, or its identity
        join pg_class t on t.oid = d.refobjid and t.relname = any (own)
        join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
        where h.oid = 'log_horizon'::regclass
        order by q.relname
    loop
        execute s.next_number into next;
        execute s.highest_number into highest;
        continue when s.wrong_options is null and (highest is null or next > highest);
        -- Waits for all transactions that have drawn a number, and keeps others from it
        -- until this one ends. What sessions have kept of the sequence is void then.
        execute format('alter sequence %s increment by 1 cache 1 no cycle', s.sequence);
        execute s.next_number into next;
        execute s.highest_number into highest;
        sequence_name := s.sequence::text;
        numbers := s.numbered;
        moved_from := next;
        moved_to := greatest(next, highest + 1);
        options := s.wrong_options;
        continue when moved_to = next and options is null; -- moved by another call meanwhile
        if moved_to > next then
            perform setval(s.sequence, highest);
            raise warning 'sequence % was behind %: moved from % to %', sequence_name, numbers, moved_from, moved_to;
        end if;
        if options is not null then
            raise warning 'sequence % had %: altered to increment 1, cache 1 and no cycle', sequence_name, options;
        end if;
        return next;
    end loop;
end
$$;

COMMENT ON FUNCTION public.contactmirror_advance_sequences() IS 'Moves each sequence of the mirror that is behind the column it numbers forward, never back, and gives it back the options that keep its numbers in order: increment 1, cache 1, no cycle. Sequences and tables that are not the mirror''s are not looked at. Returns those that it moved or altered, with their next numbers before and after, and the options that were wrong. Costs a look into the indexes when there is nothing to do. Fails in the middle of a restore and where rows are missing after it, and in any transaction that is not READ COMMITTED.';

CREATE FUNCTION public.contactmirror_analyze_values() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '10s'
    AS $$
begin
    analyze contacts, contact_audit_log;
end
$$;

COMMENT ON FUNCTION public.contactmirror_analyze_values() IS 'Runs analyze on the tables with values of contacts, so that pg_stats holds no erased value. For the owner, or roles that the owner grants it to.';

CREATE FUNCTION public.contactmirror_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception '% is append-only: % is not allowed', tg_table_name, lower(tg_op)
        using errcode = 'insufficient_privilege';
end
$$;

COMMENT ON FUNCTION public.contactmirror_append_only() IS 'Refuses the operation that its trigger fires for.';

CREATE FUNCTION public.contactmirror_bodies(event_seqs bigint[], first timestamp with time zone, last timestamp with time zone) RETURNS TABLE(event_seq bigint, body bytea)
    LANGUAGE plpgsql STABLE
    SET plan_cache_mode TO 'force_custom_plan'
    SET work_mem TO '16MB'
    AS $$
begin
    return query
    select b.event_seq, b.body
    from webhook_bodies b
    where b.event_seq = any (event_seqs) and not b.ignored and b.received_at between first and last;
end
$$;

COMMENT ON FUNCTION public.contactmirror_bodies(event_seqs bigint[], first timestamp with time zone, last timestamp with time zone) IS 'The bodies of some contact events (event_seqs) that were received within a range of time (first, last): it reads the partitions of those days only.';

CREATE FUNCTION public.contactmirror_bodies_needed(received_from timestamp with time zone, received_before timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $_$
select exists (
    select from sync_queue q where q.received_at >= $1 and q.received_at < $2
    union all
    select from quarantined_deliveries d
    where d.resolved_at is null and d.event_seq is not null and d.received_at >= $1 and d.received_at < $2
)
$_$;

COMMENT ON FUNCTION public.contactmirror_bodies_needed(received_from timestamp with time zone, received_before timestamp with time zone) IS 'Whether an event received in a range of time is queued or in open quarantine. One that is in neither never returns to either, so what one statement finds stays true.';

CREATE FUNCTION public.contactmirror_create_body_partition(ignored boolean, day date) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $_$
declare
    branch constant text := case when ignored then 'webhook_bodies_ignored' else 'webhook_bodies_contact' end;
    name   constant text := branch || to_char(day, '_YYYYMMDD');
    bounds constant timestamptz[] := array[day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC'];
    taken  boolean;
begin
    -- Twice: the first look spares the locks, the second one is certain.
    for locked in 0..1 loop
        if to_regclass(name) is not null then
            return false;
        end if;
        -- Bodies of the day that are in the default partition stay there, and so do
        -- those to come: nothing is moved, nothing fails.
        execute format('select exists (select from %I d where d.received_at >= $1 and d.received_at < $2)', branch || '_default')
        into taken
        using bounds[1], bounds[2];
        if taken then
            return false;
        end if;
        if locked = 0 then
            execute format('lock table only %I in share update exclusive mode', branch);
            execute format('lock table %I in access exclusive mode', branch || '_default');
        end if;
    end loop;
    execute format('create table %I (like %I including all)', name, branch);
    execute format('alter table %I alter column body set statistics 0', name); -- as in webhook_bodies
    execute format('comment on table %I is %L', name,
        format('Bodies of %s events received on %s (UTC).', case when ignored then 'ignored' else 'contact' end, day));
    execute format('alter table %I attach partition %I for values from (%L) to (%L)', branch, name, bounds[1], bounds[2]);
    return true;
end
$_$;

COMMENT ON FUNCTION public.contactmirror_create_body_partition(ignored boolean, day date) IS 'Makes the partition of webhook_bodies of a branch (ignored) and day, and reports whether it did: not where it exists, nor where bodies of the day are in the default partition already.';

CREATE TABLE public.webhook_events (
    event_seq bigint NOT NULL,
    context_identifier text NOT NULL,
    event_id uuid,
    event text NOT NULL,
    entity text,
    primary_key bigint,
    occurred_at timestamp with time zone,
    occurred_ticks bigint,
    received_at timestamp with time zone NOT NULL,
    ignored boolean NOT NULL,
    keyless_sha256 bytea,
    CONSTRAINT webhook_events_contact_event CHECK ((ignored OR ((event_id IS NOT NULL) AND (primary_key > 0) AND (occurred_at IS NOT NULL) AND (occurred_ticks IS NOT NULL)))),
    CONSTRAINT webhook_events_keyless CHECK (((keyless_sha256 IS NULL) = ((event_id IS NOT NULL) AND (primary_key IS NOT NULL))))
)
WITH (autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='500000', autovacuum_freeze_min_age='0');
ALTER TABLE ONLY public.webhook_events ALTER COLUMN keyless_sha256 SET STATISTICS 0;

COMMENT ON TABLE public.webhook_events IS 'Every accepted event, once; never removed, and never changed but for keyless_sha256 by an erasure. The bytes it came in are in webhook_bodies.';

COMMENT ON COLUMN public.webhook_events.event_seq IS 'The order in which events were stored. Numbers have gaps and may become visible out of order.';

COMMENT ON COLUMN public.webhook_events.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant; empty where the event had none.';

COMMENT ON COLUMN public.webhook_events.event_id IS 'SuperOffice''s EventId. Not unique: its own samples give a created and a changed event the same one.';

COMMENT ON COLUMN public.webhook_events.event IS 'SuperOffice''s name of the event, for example contact.changed.';

COMMENT ON COLUMN public.webhook_events.entity IS 'SuperOffice''s Entity, as sent.';

COMMENT ON COLUMN public.webhook_events.primary_key IS 'SuperOffice''s PrimaryKey, for contact events the contact_id.';

COMMENT ON COLUMN public.webhook_events.occurred_at IS 'SuperOffice''s Timestamp, cut to microseconds.';

COMMENT ON COLUMN public.webhook_events.occurred_ticks IS 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';

COMMENT ON COLUMN public.webhook_events.received_at IS 'When the first delivery of the event arrived, by the receiver''s clock.';

COMMENT ON COLUMN public.webhook_events.ignored IS 'Not a contact event: never queued, no audit row.';

COMMENT ON COLUMN public.webhook_events.keyless_sha256 IS 'Of an ignored event without a usable EventId or PrimaryKey: SHA-256 of its body, its idempotency key. Of an erased contact a hash of what the other columns say, by which no body can be guessed; two events of which they say the same count as one.';

CREATE FUNCTION public.contactmirror_database_identity() RETURNS text
    LANGUAGE sql STABLE
    RETURN concat_ws('/'::text, (SELECT pg_control_system.system_identifier FROM pg_control_system() pg_control_system(pg_control_version, catalog_version_no, system_identifier, pg_control_last_modified)), (SELECT pg_database.oid FROM pg_database WHERE (pg_database.datname = current_database())), ('public.webhook_events'::regclass)::oid);

COMMENT ON FUNCTION public.contactmirror_database_identity() IS 'What a database does not share with a copy of it: the identity of the cluster, and the oids of the database and of webhook_events. A standby that is promoted keeps it; a restore of a dump and pg_upgrade make another one.';

CREATE FUNCTION public.contactmirror_delete_bodies(partition_name text, before timestamp with time zone, after bigint, batch integer, really boolean) RETURNS TABLE(reached bigint, bodies bigint, bytes bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $_$
begin
    perform contactmirror_require_read_committed();
    if before is null or before > now() - interval '1 day' then
        raise exception 'bodies younger than a day are not deleted';
    end if;
    if not exists (select from body_partitions p where p.partition_name = $1) then
        return; -- dropped by another process
    end if;
    return query execute format($query$
        with batch as materialized (
            select b.event_seq, b.received_at, octet_length(b.body) as size
            from %1$I b
            where b.event_seq > $1
            order by b.event_seq
            limit $2
        ), expired as materialized (
            select b.event_seq, b.size
            from batch b
            where b.received_at < $3
                and b.event_seq not in (select q.event_seq from sync_queue q)
                and not exists (
                    select from quarantined_deliveries d where d.event_seq = b.event_seq and d.resolved_at is null
                )
        ), deleted as (
            delete from %1$I b
            using expired x
            where $4 and b.event_seq = x.event_seq
        )
        select (select max(event_seq) from batch), count(*), coalesce(sum(size), 0)::bigint
        from expired$query$, partition_name)
    using after, batch, before, really;
end
$_$;

COMMENT ON FUNCTION public.contactmirror_delete_bodies(partition_name text, before timestamp with time zone, after bigint, batch integer, really boolean) IS 'Deletes bodies of one partition that were received before a time and whose events are neither queued nor in open quarantine, or only counts them: of a batch of those after a number. Returns the last number of the batch.';

CREATE FUNCTION public.contactmirror_drop_bodies(partition_name text, before timestamp with time zone, really boolean) RETURNS TABLE(verdict text, bodies bigint, bytes bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $_$
declare
    part record;
begin
    perform contactmirror_require_read_committed();
    if before is null or before > now() - interval '1 day' then
        raise exception 'bodies younger than a day are not dropped';
    end if;
    select p.ignored, p.received_from, p.received_before, p.bytes
    into part
    from body_partitions p
    where p.partition_name = $1;
    bodies := 0;
    bytes := 0;
    verdict := 'younger';
    -- A default partition has no bounds, and is never dropped.
    if part.received_before is null or part.received_before > before then
        return next;
        return;
    end if;
    verdict := 'held';
    if not part.ignored and contactmirror_bodies_needed(part.received_from, part.received_before) then
        return next;
        return;
    end if;
    if really then
        begin
            -- Waits for puts of late deliveries to this day, and keeps others out, so
            -- that the second look sees all that is queued.
            execute format('lock table %I in access exclusive mode', partition_name);
        exception when lock_not_available or undefined_table then
            verdict := 'busy';
            return next;
            return;
        end;
        if not part.ignored and contactmirror_bodies_needed(part.received_from, part.received_before) then
            return next;
            return;
        end if;
    end if;
    execute format('select count(*) from %I', partition_name) into bodies;
    bytes := part.bytes;
    verdict := 'dropped';
    if really then
        begin
            execute format('drop table %I', partition_name);
        exception when lock_not_available then
            verdict := 'busy';
            bodies := 0;
            bytes := 0;
        end;
    end if;
    return next;
end
$_$;

COMMENT ON FUNCTION public.contactmirror_drop_bodies(partition_name text, before timestamp with time zone, really boolean) IS 'Drops a partition of webhook_bodies, if its day ended before a time and none of its events is queued or in open quarantine; or only says whether it would.';

CREATE FUNCTION public.contactmirror_entry_key(context_identifier text, contact_id bigint, reason text, redacted bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE
    AS $$
select sha256(convert_to(jsonb_build_array(context_identifier, contact_id, reason, encode(redacted, 'hex'))::text, 'UTF8'))
$$;

COMMENT ON FUNCTION public.contactmirror_entry_key(context_identifier text, contact_id bigint, reason text, redacted bytea) IS 'What stands for the hash of a body in the quarantine entry of an erased contact (context_identifier, contact_id): a hash of what the entry keeps (reason, redacted).';

CREATE FUNCTION public.contactmirror_envelope_key(context_identifier text, event text, entity text, primary_key bigint, occurred_ticks bigint) RETURNS bytea
    LANGUAGE sql IMMUTABLE
    AS $$
select sha256(convert_to(jsonb_build_array(context_identifier, event, entity, primary_key, occurred_ticks)::text, 'UTF8'))
$$;

COMMENT ON FUNCTION public.contactmirror_envelope_key(context_identifier text, event text, entity text, primary_key bigint, occurred_ticks bigint) IS 'The idempotency key of an ignored event of an erased contact that has no EventId: a hash of what its row in webhook_events says (context_identifier, event, entity, primary_key, occurred_ticks).';

CREATE FUNCTION public.contactmirror_erase(context_identifier text, contact_id bigint, audit_seq bigint, reason text, audit_seqs bigint[], commitments bytea[], event_seqs bigint[], redacted_events bytea[], quarantine_seqs bigint[], redacted_deliveries bytea[]) RETURNS TABLE(audit_rows bigint, bodies bigint, duplicates bigint, quarantined bigint, redacted bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $_$
#variable_conflict use_column
declare
    events bigint[];
    waiting record;
    more bigint;
begin
    perform contactmirror_require_read_committed();
    perform contactmirror_lock_erasure($1, $2);
    -- A second one in force violates erasures_in_force.
    insert into erasures (audit_seq, context_identifier, contact_id, erased_at, reason)
    select a.audit_seq, a.context_identifier, a.contact_id, a.recorded_at, $4
    from contact_audit_log a
    where a.audit_seq = $3 and a.event = 'mirror.erased' and a.context_identifier = $1 and a.contact_id = $2
    on conflict (audit_seq) do nothing;
    if not exists (
        select from erasures x
        where x.audit_seq = $3 and x.context_identifier = $1 and x.contact_id = $2 and x.lifted_at is null
    ) then
        raise exception 'row % of the log is no erasure of this contact that is in force: the caller must write it first', $3;
    end if;

    perform set_config('contactmirror.erasing', 'on', true);
    update contact_audit_log a
    set changed_columns = array(
            select n.name
            from unnest(a.changed_columns) with ordinality as n (name, place)
            where n.name in (select k.source_name from contact_columns k) -- others may be any text
            order by n.place
        ),
        field_values = null, given_columns = 0, id_values = null, last_known = null, salt = null,
        commitment = c.commitment,
        erased_columns = array(
            select k from jsonb_object_keys(a.field_values) k order by k collate "C"
        )
    from unnest($5, $6) as c (audit_seq, commitment)
    where a.audit_seq = c.audit_seq and a.context_identifier = $1 and a.contact_id = $2
        and a.outcome is not null and a.erased_columns is null;
    get diagnostics audit_rows = row_count;
    -- The first of those of which the rows say the same is known by that from now on,
    -- and what repeats one of them is a duplicate of it. Of the others the key only has
    -- to be another one.
    update webhook_events w
    set keyless_sha256 = case
            when k.twin = 1 and not exists (select from webhook_events o where o.keyless_sha256 = k.key) then k.key
            else k.other_key
        end
    from (
        select e.event_seq, e.key, e.other_key, row_number() over (partition by e.key order by e.event_seq) as twin
        from (
            select i.event_seq, i.keyless_sha256, y.key, sha256(y.key || int8send(i.event_seq)) as other_key
            from webhook_events i
            cross join lateral (
                select contactmirror_envelope_key(i.context_identifier, i.event, i.entity, i.primary_key, i.occurred_ticks) as key
            ) y
            where i.ignored and i.context_identifier = $1 and i.primary_key = $2 and contactmirror_is_of_contact(i.event, i.entity)
        ) e
        where e.keyless_sha256 is not null and e.keyless_sha256 not in (e.key, e.other_key)
    ) k
    where w.event_seq = k.event_seq;
    perform set_config('contactmirror.erasing', 'off', true);
    if exists (
        select from contact_audit_log a
        where a.context_identifier = $1 and a.contact_id = $2 and a.outcome is not null and a.erased_columns is null
    ) then
        raise exception 'rows were logged meanwhile: the caller must hold the lock of the contact''s shard';
    end if;

    -- No duplicate is noted before this commits, and a session that waited sees the
    -- erasure then. Erasures wait for each other here, or they could deadlock.
    lock table duplicate_deliveries in share row exclusive mode;
    select array_agg(e.event_seq) into events
    from (
        select a.event_seq
        from contact_audit_log a
        where a.context_identifier = $1 and a.contact_id = $2 and a.outcome is not null
        union
        select w.event_seq
        from webhook_events w
        where w.ignored and w.context_identifier = $1 and w.primary_key = $2 and contactmirror_is_of_contact(w.event, w.entity)
        union
        select q.event_seq
        from quarantined_deliveries q
        join webhook_events w on w.event_seq = q.event_seq
        where w.context_identifier = $1 and w.primary_key = $2
    ) e
    where e.event_seq not in (select q.event_seq from sync_queue q); -- the worker needs their bodies, and strips them
    select count(*) into duplicates from duplicate_deliveries d where d.event_seq = any (events || $7) and d.body_sha256 <> '';
    select count(*) into quarantined from quarantined_deliveries q where q.event_seq = any (events || $7) and q.bytes_removed_at is null;
    bodies := contactmirror_strip_events(events);

    -- An event that has not been applied keeps its envelope, so that it can still be applied.
    redacted := 0;
    for waiting in select e.event_seq, e.body from unnest($7, $8) as e (event_seq, body) loop
        if contactmirror_redact_event(waiting.event_seq, waiting.body) then
            redacted := redacted + (waiting.body is not null)::int;
        end if;
    end loop;
    if exists (
        select
        from quarantined_deliveries q
        join webhook_events w on w.event_seq = q.event_seq
        where q.resolved_at is null and q.bytes_removed_at is null and w.context_identifier = $1 and w.primary_key = $2
    ) then
        raise exception 'events came into quarantine meanwhile: the caller must hold the lock of the contact''s shard';
    end if;

    update quarantined_deliveries q
    set reason = contactmirror_reason_without_values(q.reason), headers = null, signatures = null,
        body = coalesce(d.body, ''), bytes_removed_at = now(),
        body_sha256 = case
            when d.twin = 1 and not exists (select from quarantined_deliveries o where o.event_seq is null and o.body_sha256 = d.key) then d.key
            else uuid_send(gen_random_uuid())
        end,
        resolved_at = coalesce(q.resolved_at, case when d.body is null then now() end),
        resolution = coalesce(q.resolution, case when d.body is null then 'discarded' end)
    from (
        select k.quarantine_seq, k.body, k.key, row_number() over (partition by k.key order by k.quarantine_seq) as twin
        from (
            select u.quarantine_seq, u.body, contactmirror_entry_key($1, $2, contactmirror_reason_without_values(e.reason), u.body) as key
            from unnest($9, $10) as u (quarantine_seq, body)
            join quarantined_deliveries e on e.quarantine_seq = u.quarantine_seq
        ) k
    ) d
    where q.quarantine_seq = d.quarantine_seq and q.event_seq is null and q.bytes_removed_at is null;
    get diagnostics more = row_count;
    quarantined := quarantined + more;
    select redacted + count(*) into redacted from unnest($10) as d (body) where d.body is not null;
    return next;
end
$_$;

COMMENT ON FUNCTION public.contactmirror_erase(context_identifier text, contact_id bigint, audit_seq bigint, reason text, audit_seqs bigint[], commitments bytea[], event_seqs bigint[], redacted_events bytea[], quarantine_seqs bigint[], redacted_deliveries bytea[]) IS 'Erases a contact (context_identifier, contact_id), but for its row in contacts, which the caller writes in the same transaction. The caller holds the lock of its shard, has written the erasure''s row of the log (audit_seq; of an erasure in force, which is repeated, that one) and why (reason), and gives the commitments to the values of all its audit rows (audit_seqs, commitments), the redacted bodies of its events in open quarantine (event_seqs, redacted_events) and of quarantined deliveries that never became events (quarantine_seqs, redacted_deliveries); a NULL body keeps nothing of it, and discards the entry. For the owner, or whom the owner grants it to.';

CREATE FUNCTION public.contactmirror_erased(context_identifier text, contact_id bigint, received_at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
begin
    perform contactmirror_require_read_committed();
    perform pg_advisory_xact_lock_shared(hashtext('contactmirror erasure'), (hashtextextended(concat_ws(' ', contact_id, context_identifier), 0) & 63)::integer);
    return contactmirror_is_erased($1, $2, $3);
end
$_$;

COMMENT ON FUNCTION public.contactmirror_erased(context_identifier text, contact_id bigint, received_at timestamp with time zone) IS 'As contactmirror_is_erased, for what is being stored. Waits for an erasure that is running, and keeps the next one waiting until the transaction ends. Does not look for an unfinished restore: a statement that calls it calls contactmirror_require_restored once.';

CREATE FUNCTION public.contactmirror_extend_bodies() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $$
declare
    ahead constant integer := 7; -- days, so that a week without the service leaves none without a partition
    gap   constant integer := 31; -- days before today, at most, that are made up for after a longer time
    today constant date := (now() at time zone 'UTC')::date;
    made  integer := 0;
    branch record;
begin
    for branch in
        -- The newest partition whose day has begun: partitions of a day far ahead may
        -- come from a clock that was wrong.
        select b.ignored, (max(p.received_from) at time zone 'UTC')::date as newest
        from (values (false), (true)) as b (ignored)
        left join body_partitions p on p.ignored = b.ignored and p.received_from <= now()
        group by b.ignored
        order by b.ignored
    loop
        for offset_days in greatest(-gap, coalesce(branch.newest + 1 - today, 0))..ahead loop
            begin
                made := made + contactmirror_create_body_partition(branch.ignored, today + offset_days)::integer;
            exception when lock_not_available then
                return made; -- another session holds the tables; the next call comes soon
            end;
        end loop;
    end loop;
    return made;
end
$$;

COMMENT ON FUNCTION public.contactmirror_extend_bodies() IS 'Makes the partitions of webhook_bodies from the newest day that has one to a week ahead, and returns how many it made. Costs a look into the catalog when there is nothing to do.';

CREATE FUNCTION public.contactmirror_given(given_columns bigint) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT COALESCE(array_agg(c.column_name ORDER BY c."bit"), '{}'::text[]) AS "coalesce"
    FROM unnest(ARRAY['name'::text, 'kananame'::text, 'department'::text, 'number1'::text, 'number2'::text, 'org_nr'::text, 'sound_ex'::text, 'dbi_key'::text, 'associate_id'::text, 'country_id'::text, 'business_idx'::text, 'category_idx'::text, 'registered_associate_id'::text, 'updated_associate_id'::text, 'text_id'::text, 'mother_id'::text, 'userdef_id'::text, 'userdef2_id'::text, 'group_id'::text, 'tz_location_id'::text, 'ticket_priority_id'::text, 'support_language_id'::text, 'support_associate_id'::text, 'support_person_id'::text, 'dbi_agent_id'::text, 'source'::text, 'active_interests'::text, 'updated_count'::text, 'deleted'::text, 'active_erp_links'::text, 'xstop'::text, 'nomailing'::text, 'registered'::text, 'updated'::text, 'deleted_date'::text, 'dbi_last_syncronized'::text, 'dbi_last_modified'::text]) WITH ORDINALITY c(column_name, "bit")
   WHERE ((contactmirror_given.given_columns & ((1)::bigint << (c."bit")::integer)) <> 0);
END;

COMMENT ON FUNCTION public.contactmirror_given(given_columns bigint) IS 'The columns of contacts in a bit set, as given_columns of contact_audit_log is one.';

CREATE TABLE public.erasures (
    audit_seq bigint NOT NULL,
    context_identifier text NOT NULL,
    contact_id bigint NOT NULL,
    erased_at timestamp with time zone NOT NULL,
    lifted_at timestamp with time zone,
    lifted_audit_seq bigint,
    reason text,
    CONSTRAINT erasures_contact_id CHECK ((contact_id > 0)),
    CONSTRAINT erasures_lifted CHECK ((((lifted_at IS NULL) = (lifted_audit_seq IS NULL)) AND (lifted_audit_seq > audit_seq)))
);

COMMENT ON TABLE public.erasures IS 'Contacts whose personal values were erased: an index of the rows of contact_audit_log that say so. The values of every event that was received before the erasure was lifted are erased: at once, or when it is applied, or when it is stored where it is never applied.';

COMMENT ON COLUMN public.erasures.audit_seq IS 'Key: the row of the erasure in contact_audit_log.';

COMMENT ON COLUMN public.erasures.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.erasures.contact_id IS 'The contact.';

COMMENT ON COLUMN public.erasures.erased_at IS 'When it was erased first: recorded_at of that row.';

COMMENT ON COLUMN public.erasures.lifted_at IS 'Events received after that time keep their values again, by the clock of their receiver; NULL while the erasure is in force.';

COMMENT ON COLUMN public.erasures.lifted_audit_seq IS 'The row of the lifting in contact_audit_log.';

COMMENT ON COLUMN public.erasures.reason IS 'Why, as the operator put it. Who erased and who lifted is in operator_actions.';

CREATE FUNCTION public.contactmirror_is_erased(context_identifier text, contact_id bigint, received_at timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT (EXISTS ( SELECT
            FROM public.erasures x
           WHERE ((x.context_identifier = contactmirror_is_erased.context_identifier) AND (x.contact_id = contactmirror_is_erased.contact_id) AND ((x.lifted_at IS NULL) OR (x.lifted_at >= contactmirror_is_erased.received_at))))) AS "exists";
END;

COMMENT ON FUNCTION public.contactmirror_is_erased(context_identifier text, contact_id bigint, received_at timestamp with time zone) IS 'Whether the values of what was received at a time (received_at) for a contact (context_identifier, contact_id) are erased.';

CREATE FUNCTION public.contactmirror_hash_kept(context_identifier text, contact_id bigint, received_at timestamp with time zone, body_sha256 bytea) RETURNS bytea
    LANGUAGE sql STABLE
    RETURN CASE WHEN public.contactmirror_is_erased(context_identifier, contact_id, received_at) THEN '\x'::bytea ELSE body_sha256 END;

COMMENT ON FUNCTION public.contactmirror_hash_kept(context_identifier text, contact_id bigint, received_at timestamp with time zone, body_sha256 bytea) IS 'What duplicate_deliveries keeps of the hash (body_sha256) of a delivery for a contact (context_identifier, contact_id), received at a time (received_at): nothing where its values are erased.';

CREATE FUNCTION public.contactmirror_is_of_contact(event text, entity text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((event ~~ 'contact.%'::text) OR (COALESCE(lower(entity), ''::text) = 'contact'::text));

COMMENT ON FUNCTION public.contactmirror_is_of_contact(event text, entity text) IS 'Whether an ignored event (event, entity) is about a contact, so that its primary_key is a contact''s id.';

CREATE FUNCTION public.contactmirror_known(at timestamp with time zone) RETURNS TABLE(before bigint, through bigint)
    LANGUAGE plpgsql STABLE ROWS 1 PARALLEL RESTRICTED
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
    return query -- which may use several processes, where "select into" may not
    with later as (
        -- A filter, or the planner would walk the key from its beginning.
        select min(a.audit_seq) filter (where a.recorded_at > at) as first
        from contact_audit_log a
        where a.recorded_at > at
    )
    select coalesce(l.first, 9223372036854775807), coalesce(k.last, 0)
    from later l
    cross join lateral (
        select max(a.audit_seq) as last
        from contact_audit_log a
        where a.audit_seq > l.first and a.recorded_at <= at
    ) k;
end
$$;

COMMENT ON FUNCTION public.contactmirror_known(at timestamp with time zone) IS 'Of the log at a time: before which row all had been written, and after which none. Rows between them belong to transactions that ran concurrently then.';

CREATE FUNCTION public.contactmirror_known_before(tenant text, contact bigint, ticks bigint, event text, event_id uuid) RETURNS jsonb
    LANGUAGE sql STABLE COST 10000 PARALLEL SAFE
    SET jit TO 'off'
    BEGIN ATOMIC
 WITH facts AS (
          SELECT f.event,
             f.event_id,
             f.occurred_at,
             f.occurred_ticks,
             f.changed_by_associate_id,
             f.soft_deleted,
             f.field_values,
             f.named,
             row_number() OVER (ORDER BY f.occurred_ticks, (public.contactmirror_rank(f.event)), f.event_id) AS place
            FROM ( SELECT a.event,
                     a.event_id,
                     a.occurred_at,
                     a.occurred_ticks,
                     a.changed_by_associate_id,
                     a.soft_deleted,
                     a.field_values,
                     ((a.changed_columns || a.unreadable_columns) || COALESCE(a.erased_columns, '{}'::text[])) AS named
                    FROM public.contact_audit_log a
                   WHERE ((a.context_identifier = contactmirror_known_before.tenant) AND (a.contact_id = contactmirror_known_before.contact) AND (a.outcome IS NOT NULL) AND (a.occurred_ticks <= contactmirror_known_before.ticks) AND (ROW(a.occurred_ticks, public.contactmirror_rank(a.event), a.event_id) < ROW(contactmirror_known_before.ticks, public.contactmirror_rank(contactmirror_known_before.event), contactmirror_known_before.event_id)))
                  OFFSET 0) f
         ), folded AS (
          SELECT public.contactmirror_values(f.field_values ORDER BY f.place) AS known,
             public.contactmirror_settled(f.named, f.field_values ORDER BY f.place) AS settled,
             COALESCE(max(f.place) FILTER (WHERE (NOT f.soft_deleted)), (0)::bigint) AS restored
            FROM facts f
          HAVING (count(*) > 0)
         )
  SELECT (jsonb_build_object('context_identifier', contactmirror_known_before.tenant, 'contact_id', contactmirror_known_before.contact, 'soft_deleted', (bin.since IS NOT NULL), 'soft_deleted_at', public.contactmirror_utc(bin.since), 'pending_columns', c.pending, 'last_event', l.event, 'last_event_id', l.event_id, 'last_event_at', public.contactmirror_utc(l.occurred_at), 'last_event_ticks', l.occurred_ticks, 'last_changed_by_associate_id', l.changed_by_associate_id) || c.known)
    FROM (((folded d
      CROSS JOIN LATERAL ( SELECT f.event,
             f.event_id,
             f.occurred_at,
             f.occurred_ticks,
             f.changed_by_associate_id,
             f.soft_deleted,
             f.field_values,
             f.named,
             f.place
            FROM facts f
           ORDER BY f.place DESC
          LIMIT 1) l)
      CROSS JOIN LATERAL ( SELECT COALESCE((array_agg(s.deleted_date ORDER BY s.place DESC) FILTER (WHERE (s.deleted_date IS NOT NULL)))[1], (array_agg(s.occurred_at ORDER BY s.place))[1]) AS since
            FROM ( SELECT f.place,
                     f.occurred_at,
                     (public.contactmirror_time((f.field_values ->> 'DeletedDate'::text)) AT TIME ZONE 'UTC'::text) AS deleted_date
                    FROM facts f
                   WHERE (f.soft_deleted AND (f.place > d.restored))) s) bin)
      CROSS JOIN LATERAL ( SELECT jsonb_object_agg(n.column_name, COALESCE(public.contactmirror_value(n.type, n.source_name, (d.known -> n.source_name)), 'null'::jsonb)) AS known,
             COALESCE(to_jsonb(array_agg(n.column_name ORDER BY n.place) FILTER (WHERE (NOT (d.settled ? n.source_name)))), '[]'::jsonb) AS pending
            FROM ( SELECT contact_columns.column_name,
                     contact_columns.source_name,
                     contact_columns.type,
                     row_number() OVER () AS place
                    FROM public.contact_columns) n
           WHERE (n.column_name <> 'contact_id'::text)) c);
END;

COMMENT ON FUNCTION public.contactmirror_known_before(tenant text, contact bigint, ticks bigint, event text, event_id uuid) IS 'A contact as its facts before an event (ticks, event, event_id) say it was, in the source''s order: a row of contacts as JSON, without first_seen_at and mirrored_at. NULL where there is no fact before it.';

CREATE FUNCTION public.contactmirror_lift_erasure(context_identifier text, contact_id bigint, audit_seq bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
begin
    perform contactmirror_require_read_committed();
    update erasures x
    set lifted_at = a.recorded_at, lifted_audit_seq = a.audit_seq
    from contact_audit_log a
    where x.context_identifier = $1 and x.contact_id = $2 and x.lifted_at is null
        and a.audit_seq = $3 and a.event = 'mirror.erasure_lifted' and a.context_identifier = $1 and a.contact_id = $2;
    return found;
end
$_$;

COMMENT ON FUNCTION public.contactmirror_lift_erasure(context_identifier text, contact_id bigint, audit_seq bigint) IS 'Lets events of a contact (context_identifier, contact_id) that are received from now on be kept with their values again. The caller has written the lifting''s row of the log (audit_seq). Reports whether the contact was erased and the row is there. For the owner, or whom the owner grants it to.';

CREATE FUNCTION public.contactmirror_lock_erasure(context_identifier text, contact_id bigint) RETURNS void
    LANGUAGE sql
    AS $$
select pg_advisory_xact_lock(hashtext('contactmirror erasure'), (hashtextextended(concat_ws(' ', contact_id, context_identifier), 0) & 63)::integer)
$$;

COMMENT ON FUNCTION public.contactmirror_lock_erasure(context_identifier text, contact_id bigint) IS 'Keeps contactmirror_erased waiting until the transaction ends, for a contact (context_identifier, contact_id).';

CREATE FUNCTION public.contactmirror_may_erase() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
    if not has_function_privilege('contactmirror_erase(text, bigint, bigint, text, bigint[], bytea[], bigint[], bytea[], bigint[], bytea[])', 'execute') then
        raise exception 'permission denied: % may not write % into %', current_user, new.event, tg_table_name
            using errcode = 'insufficient_privilege', hint = 'Erase, and lift erasures, with contactmirror erase, as the owner of the schema.';
    end if;
    return null;
end
$$;

COMMENT ON FUNCTION public.contactmirror_may_erase() IS 'Refuses rows of the audit log about erasures and liftings from roles that may not erase.';

CREATE FUNCTION public.contactmirror_newest(at timestamp with time zone, by_arrival boolean, tenant text) RETURNS TABLE(sent_rows bigint[], more_rows bigint[], given bigint[], other_contacts text[])
    LANGUAGE plpgsql STABLE ROWS 1
    SET search_path TO 'public', 'pg_temp'
    SET max_parallel_workers_per_gather TO '0'
    AS $$
#variable_conflict use_column
declare
    -- The facts are those of ticks and rows before these. SuperOffice's years are
    -- 1753 to 9998, and microseconds are cut from ticks.
    ticks   bigint := (extract(epoch from least(greatest(at, '1000-01-01 Z'), '9999-01-01 Z')) * 1000000)::bigint * 10 + 10;
    before  bigint := 9223372036854775807;
    through bigint := 0;
begin
    if by_arrival then
        ticks := before;
        select k.before, k.through
        into before, through
        from contactmirror_known(at) k;
    end if;

    return query
    with told as (
        -- Live contacts and dead ones each by themselves: so both sides come in the
        -- index's order. Where two facts are the newest, the two rows differ.
        select c.context_identifier, c.contact_id,
            max(array[a.occurred_ticks, a.audit_seq, a.given_columns]) as newest, -(max(array[a.occurred_ticks, -a.audit_seq]))[2] as also_newest,
            bit_or(a.given_columns) as given, bool_or(a.soft_deleted is true) as soft_deleted, bool_or(a.hard_deleted) as hard_deleted
        from contacts c
        join contact_audit_log a on a.context_identifier = c.context_identifier and a.contact_id = c.contact_id
        where (tenant is null or c.context_identifier = tenant)
            and (by_arrival and c.mirrored_at > at or not by_arrival and c.last_event_at > at)
            and a.outcome is not null and a.occurred_ticks < ticks and a.audit_seq < before
        group by c.context_identifier, c.contact_id
        union all
        select t.context_identifier, t.contact_id,
            max(array[a.occurred_ticks, a.audit_seq, a.given_columns]), -(max(array[a.occurred_ticks, -a.audit_seq]))[2],
            bit_or(a.given_columns), bool_or(a.soft_deleted is true), bool_or(a.hard_deleted)
        from contact_tombstones t
        join contact_audit_log a on a.context_identifier = t.context_identifier and a.contact_id = t.contact_id
        where (tenant is null or t.context_identifier = tenant)
            and (by_arrival or t.deleted_at > at)
            and a.outcome is not null and a.occurred_ticks < ticks and a.audit_seq < before
        group by t.context_identifier, t.contact_id
    ), beside as (
        select distinct a.context_identifier, a.contact_id
        from contact_audit_log a
        where (tenant is null or a.context_identifier = tenant)
            and a.outcome is not null and a.audit_seq between before and through and a.recorded_at <= at
    ), judged as (
        select context_identifier, contact_id, t.newest[2] as newest, t.given,
            b.contact_id is null and t.newest[2] = t.also_newest and t.newest[3] = t.given and not t.soft_deleted as alone
        from told t
        full join beside b using (context_identifier, contact_id)
        where t.hard_deleted is not true
    )
    select array_agg(j.newest) filter (where j.alone and j.given & ~contactmirror_sent() = 0),
        array_agg(j.newest) filter (where j.alone and j.given & ~contactmirror_sent() <> 0),
        array_agg(distinct j.given) filter (where j.alone),
        array_agg(j.contact_id || ' ' || j.context_identifier) filter (where not j.alone)
    from judged j;
end
$$;

COMMENT ON FUNCTION public.contactmirror_newest(at timestamp with time zone, by_arrival boolean, tenant text) IS 'Of the contacts that contactmirror_refold folds: the newest row in the log of each one about which that row says everything, in two lists: rows that give no other columns than SuperOffice sends, and rows that do; the different given_columns of these rows; and the id and tenant of all other contacts.';

CREATE FUNCTION public.contactmirror_number_taken(table_name text) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'the sequence of % is behind its table', table_name
        using errcode = 'unique_violation', table = table_name, constraint = table_name || '_pkey',
            hint = 'select * from contactmirror_advance_sequences()';
end
$$;

COMMENT ON FUNCTION public.contactmirror_number_taken(table_name text) IS 'Fails as the primary key of a table does when a number is taken: for numbers that log_horizon has counted already, though no row has them.';

CREATE FUNCTION public.contactmirror_only_erasure() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare
    erasable constant text[] := array['changed_columns', 'field_values', 'given_columns', 'id_values', 'last_known', 'salt', 'commitment', 'erased_columns'];
begin
    if current_setting('contactmirror.erasing', true) is distinct from 'on' then
        raise exception '% is append-only: % is not allowed', tg_table_name, lower(tg_op)
            using errcode = 'insufficient_privilege';
    end if;
    if tg_level = 'ROW' then
        if to_jsonb(new) - erasable is distinct from to_jsonb(old) - erasable
            or old.erased_columns is not null or new.erased_columns is null
            or num_nonnulls(new.field_values, new.id_values, new.last_known, new.salt) > 0
            or new.commitment is null or new.given_columns <> 0
            or new.changed_columns is distinct from array(
                select c.name
                from unnest(old.changed_columns) with ordinality as c (name, place)
                where c.name in (select k.source_name from contact_columns k)
                order by c.place
            )
        then
            raise exception '% is append-only: this update is no erasure', tg_table_name
                using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    return null;
end
$$;

COMMENT ON FUNCTION public.contactmirror_only_erasure() IS 'Refuses updates of the audit log that are not erasures.';

CREATE FUNCTION public.contactmirror_only_new_key() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if current_setting('contactmirror.erasing', true) is distinct from 'on'
        or tg_level = 'ROW' and (
            to_jsonb(new) - 'keyless_sha256' is distinct from to_jsonb(old) - 'keyless_sha256'
            or old.keyless_sha256 is null or new.keyless_sha256 is null
        )
    then
        raise exception '% is append-only: % is not allowed', tg_table_name, lower(tg_op)
            using errcode = 'insufficient_privilege';
    end if;
    if tg_level = 'ROW' then
        return new;
    end if;
    return null;
end
$$;

COMMENT ON FUNCTION public.contactmirror_only_new_key() IS 'Refuses updates of events but those by which an erasure replaces keyless_sha256.';

CREATE FUNCTION public.contactmirror_pending(given bigint[]) RETURNS TABLE(given_columns bigint, pending_columns text[])
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
select g.given_columns,
    case when g.given_columns <> contactmirror_sent() then array(
        select c.column_name
        from unnest(array[
            'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
            'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
            'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
            'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
            'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count', 'deleted',
            'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated', 'deleted_date',
            'dbi_last_syncronized', 'dbi_last_modified'
        ]) with ordinality as c (column_name, bit)
        where g.given_columns & (1::bigint << c.bit::integer) = 0
        order by c.bit
    ) end
from unnest(given) as g (given_columns)
$$;

COMMENT ON FUNCTION public.contactmirror_pending(given bigint[]) IS 'For some different given_columns (given), the columns that are not in it; NULL where it is exactly the columns that SuperOffice sends.';

CREATE FUNCTION public.contactmirror_prune_quarantine(before timestamp with time zone, after bigint, batch integer, really boolean) RETURNS TABLE(reached bigint, deliveries bigint, bytes bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $$
begin
    perform contactmirror_require_read_committed();
    if before is null or before > now() - interval '1 day' then
        raise exception 'deliveries younger than a day are kept';
    end if;
    return query
    with expired as materialized (
        select d.quarantine_seq, octet_length(d.body) as size
        from quarantined_deliveries d
        where d.quarantine_seq > after and d.resolved_at is not null and (d.bytes_removed_at is null or d.body <> '')
            and d.received_at < before
            and (d.event_seq in (select q.event_seq from sync_queue q)) is not true -- retried, and may come back
        order by d.quarantine_seq
        limit batch
    ), emptied as (
        update quarantined_deliveries d
        set headers = null, signatures = null, body = '', body_sha256 = uuid_send(gen_random_uuid()), bytes_removed_at = now()
        from expired x
        where really and d.quarantine_seq = x.quarantine_seq and d.resolved_at is not null
    )
    select max(x.quarantine_seq), count(*), coalesce(sum(x.size), 0)::bigint
    from expired x;
end
$$;

COMMENT ON FUNCTION public.contactmirror_prune_quarantine(before timestamp with time zone, after bigint, batch integer, really boolean) IS 'Removes the bytes of resolved quarantine entries that came before a time, or only counts them: of a batch of those after a number. Returns the last number of the batch.';

CREATE FUNCTION public.contactmirror_reason_without_values(reason text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
select concat_ws(' ',
    substring(reason from '^(EventId|Timestamp|Event|Entity|PrimaryKey|Changes|Values|FieldValues|ContextIdentifier|ChangedByAssociateId|WebhookName|the body)\M'),
    substring(reason from '\(SQLSTATE [0-9A-Z]{5}\)'),
    '(values erased)')
$$;

COMMENT ON FUNCTION public.contactmirror_reason_without_values(reason text) IS 'The reason of a quarantine entry without what it quotes of the delivery.';

CREATE FUNCTION public.contactmirror_redact_event(event_seq bigint, redacted bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $_$
declare
    received timestamptz;
begin
    perform contactmirror_require_read_committed();
    if redacted is not null and position('contactmirror redacted body 1\012'::bytea in redacted) <> 1 then
        raise exception 'this is no redacted body';
    end if;
    update quarantined_deliveries q
    set reason = contactmirror_reason_without_values(q.reason), headers = null, signatures = null, body = coalesce(redacted, ''), body_sha256 = '', bytes_removed_at = now(),
        resolved_at = case when redacted is null then now() end, resolution = case when redacted is null then 'discarded' end
    where q.event_seq = $1 and q.resolved_at is null and q.bytes_removed_at is null
        and exists (
            select
            from webhook_events w
            where w.event_seq = $1 and contactmirror_is_erased(w.context_identifier, w.primary_key, w.received_at)
        );
    if not found then
        return false;
    end if;
    select w.received_at
    into strict received
    from webhook_events w
    where w.event_seq = $1;
    if redacted is null then
        delete from webhook_bodies b where b.event_seq = $1 and b.received_at = received and not b.ignored;
    else
        update webhook_bodies b set body = redacted where b.event_seq = $1 and b.received_at = received and not b.ignored;
    end if;
    update duplicate_deliveries d set body_sha256 = '' where d.event_seq = $1 and d.body_sha256 <> '';
    return true;
end
$_$;

COMMENT ON FUNCTION public.contactmirror_redact_event(event_seq bigint, redacted bytea) IS 'Puts a redacted body (event_seq, redacted) in the place of that of an event in open quarantine whose contact has been erased, so that it can still be applied. NULL, where its body can''t be read, removes the body and discards the entry. Reports whether it did either.';

CREATE FUNCTION public.contactmirror_refold(at timestamp with time zone, by_arrival boolean, tenant text, contact bigint) RETURNS SETOF public.contact_as_of
    LANGUAGE plpgsql STABLE ROWS 100000 PARALLEL RESTRICTED
    SET search_path TO 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET effective_cache_size TO '64MB'
    SET work_mem TO '64MB'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
declare
    newest bigint[];
    more   bigint[];
    given  bigint[]; -- few
    others text[];
begin
    perform contactmirror_require_tenant(tenant);
    -- Of most contacts the newest fact says everything. It is found in an index, in
    -- whose order the log is grouped; the log itself is read once, and never sorted.
    if contact is null then
        select n.sent_rows, n.more_rows, n.given, n.other_contacts
        into newest, more, given, others
        from contactmirror_newest(at, by_arrival, tenant) n;

        return query
        select a.context_identifier, a.contact_id,
            null::text, null::text, null::text, null::text, null::text, null::text, null::text, null::text,
            contactmirror_bigint(v.associate_id), contactmirror_bigint(v.country_id),
            contactmirror_bigint(v.business_idx), contactmirror_bigint(v.category_idx),
            contactmirror_bigint(v.registered_associate_id), null::bigint, null::bigint, null::bigint,
            contactmirror_bigint(v.userdef_id), contactmirror_bigint(v.userdef2_id), null::bigint,
            null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint,
            contactmirror_integer(v.source), contactmirror_integer(v."activeInterests"),
            null::integer, contactmirror_deleted(v.deleted), null::integer, null::boolean, null::boolean,
            contactmirror_time(v.registered) at time zone 'UTC',
            contactmirror_time(v.updated) at time zone 'UTC',
            contactmirror_time(v."DeletedDate") at time zone 'UTC', null::timestamp, null::timestamp,
            false, null::timestamptz,
            p.pending_columns,
            a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id
        from unnest(newest) n
        join contact_audit_log a on a.audit_seq = n
        join contactmirror_pending(given) p on p.given_columns = a.given_columns
        -- "offset 0" takes each value out once, however often its function looks at it.
        cross join lateral (
            select a.field_values ->> 'associate_id' as associate_id, a.field_values ->> 'country_id' as country_id,
                a.field_values ->> 'business_idx' as business_idx, a.field_values ->> 'category_idx' as category_idx,
                a.field_values ->> 'registered_associate_id' as registered_associate_id,
                a.field_values ->> 'userdef_id' as userdef_id, a.field_values ->> 'userdef2_id' as userdef2_id,
                a.field_values ->> 'source' as source, a.field_values ->> 'activeInterests' as "activeInterests",
                a.field_values ->> 'deleted' as deleted, a.field_values ->> 'registered' as registered,
                a.field_values ->> 'updated' as updated, a.field_values ->> 'DeletedDate' as "DeletedDate"
            offset 0
        ) v;

        return query
        select a.context_identifier, a.contact_id,
            r.name, r.kananame, r.department, r.number1, r.number2, r."orgNr", r."soundEx", r.dbi_key,
            contactmirror_bigint(r.associate_id), contactmirror_bigint(r.country_id),
            contactmirror_bigint(r.business_idx), contactmirror_bigint(r.category_idx),
            contactmirror_bigint(r.registered_associate_id), contactmirror_bigint(r.updated_associate_id),
            contactmirror_bigint(r.text_id), contactmirror_bigint(r.mother_id),
            contactmirror_bigint(r.userdef_id), contactmirror_bigint(r.userdef2_id),
            contactmirror_bigint(r.group_id), contactmirror_bigint(r."tzLocationId"),
            contactmirror_bigint(r."ticketPriorityId"), contactmirror_bigint(r."supportLanguageId"),
            contactmirror_bigint(r."supportAssociateId"), contactmirror_bigint(r."supportPersonId"),
            contactmirror_bigint(r.dbi_agent_id), contactmirror_integer(r.source),
            contactmirror_integer(r."activeInterests"), contactmirror_integer(r."updatedCount"),
            contactmirror_deleted(r.deleted), contactmirror_integer(r."activeErpLinks"),
            contactmirror_boolean(r.xstop), contactmirror_boolean(r.nomailing),
            contactmirror_time(r.registered) at time zone 'UTC', contactmirror_time(r.updated) at time zone 'UTC',
            contactmirror_time(r."DeletedDate") at time zone 'UTC', contactmirror_time(r.dbi_last_syncronized),
            contactmirror_time(r.dbi_last_modified),
            false, null::timestamptz, p.pending_columns,
            a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id
        from unnest(more) n
        join contact_audit_log a on a.audit_seq = n
        join contactmirror_pending(given) p on p.given_columns = a.given_columns
        cross join lateral jsonb_to_record(a.field_values) as r (
            name text, kananame text, department text, number1 text, number2 text, "orgNr" text, "soundEx" text,
            dbi_key text, associate_id text, country_id text, business_idx text, category_idx text,
            registered_associate_id text, updated_associate_id text, text_id text, mother_id text, userdef_id text,
            userdef2_id text, group_id text, "tzLocationId" text, "ticketPriorityId" text, "supportLanguageId" text,
            "supportAssociateId" text, "supportPersonId" text, dbi_agent_id text, source text,
            "activeInterests" text, "updatedCount" text, deleted text, "activeErpLinks" text, xstop text,
            nomailing text, registered text, updated text, "DeletedDate" text, dbi_last_syncronized text,
            dbi_last_modified text
        );

        if others is null then
            return;
        end if;
    end if;

    return query
    with facts as (
        select a.context_identifier, a.contact_id, a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id,
            a.soft_deleted, a.hard_deleted, a.field_values,
            a.changed_columns || a.unreadable_columns || coalesce(a.erased_columns, '{}') as named
        from contacts c
        join contact_audit_log a on a.context_identifier = c.context_identifier and a.contact_id = c.contact_id
        where (tenant is null or c.context_identifier = tenant)
            and (contact is null or c.contact_id = contact)
            and (others is null or c.contact_id || ' ' || c.context_identifier = any (others))
            and (by_arrival and c.mirrored_at > at or not by_arrival and c.last_event_at > at)
            and a.outcome is not null
            and (by_arrival and a.recorded_at <= at or not by_arrival and a.occurred_at <= at)
        union all
        select a.context_identifier, a.contact_id, a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id,
            a.soft_deleted, a.hard_deleted, a.field_values,
            a.changed_columns || a.unreadable_columns || coalesce(a.erased_columns, '{}') as named
        from contact_tombstones t
        join contact_audit_log a on a.context_identifier = t.context_identifier and a.contact_id = t.contact_id
        where (tenant is null or t.context_identifier = tenant)
            and (contact is null or t.contact_id = contact)
            and (others is null or t.contact_id || ' ' || t.context_identifier = any (others))
            and (by_arrival or t.deleted_at > at)
            and a.outcome is not null
            and (by_arrival and a.recorded_at <= at or not by_arrival and a.occurred_at <= at)
    ), told as (
        select a.context_identifier, a.contact_id,
            array_agg(
                row(
                    a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id,
                    a.soft_deleted, a.field_values, a.named
                )::contactmirror_fact
                order by a.occurred_ticks, contactmirror_rank(a.event), a.event_id
            ) as facts,
            coalesce(bool_or(a.soft_deleted), false) as was_soft_deleted,
            bool_and(coalesce(a.field_values, '{}') = '{}') as bare
        from facts a
        group by a.contact_id, a.context_identifier
        having not bool_or(a.hard_deleted)
    )
    select t.context_identifier, t.contact_id,
        r.name, r.kananame, r.department, r.number1, r.number2, r."orgNr", r."soundEx", r.dbi_key,
        contactmirror_bigint(r.associate_id), contactmirror_bigint(r.country_id),
        contactmirror_bigint(r.business_idx), contactmirror_bigint(r.category_idx),
        contactmirror_bigint(r.registered_associate_id), contactmirror_bigint(r.updated_associate_id),
        contactmirror_bigint(r.text_id), contactmirror_bigint(r.mother_id),
        contactmirror_bigint(r.userdef_id), contactmirror_bigint(r.userdef2_id),
        contactmirror_bigint(r.group_id), contactmirror_bigint(r."tzLocationId"),
        contactmirror_bigint(r."ticketPriorityId"), contactmirror_bigint(r."supportLanguageId"),
        contactmirror_bigint(r."supportAssociateId"), contactmirror_bigint(r."supportPersonId"),
        contactmirror_bigint(r.dbi_agent_id), contactmirror_integer(r.source),
        contactmirror_integer(r."activeInterests"), contactmirror_integer(r."updatedCount"),
        contactmirror_deleted(r.deleted), contactmirror_integer(r."activeErpLinks"),
        contactmirror_boolean(r.xstop), contactmirror_boolean(r.nomailing),
        contactmirror_time(r.registered) at time zone 'UTC', contactmirror_time(r.updated) at time zone 'UTC',
        contactmirror_time(r."DeletedDate") at time zone 'UTC', contactmirror_time(r.dbi_last_syncronized),
        contactmirror_time(r.dbi_last_modified),
        coalesce(bin.soft_deleted, false), bin.since, p.pending_columns,
        (l.last).event, (l.last).event_id, (l.last).occurred_at, (l.last).occurred_ticks, (l.last).changed_by_associate_id
    from told t
    -- "offset 0" keeps what is used often from being computed as often.
    cross join lateral (select t.facts[cardinality(t.facts)] as last offset 0) l
    cross join lateral (
        select case when t.bare then (l.last).field_values else (
            select contactmirror_values(f.field_values order by f.place)
            from unnest(t.facts) with ordinality f (event, event_id, occurred_at, occurred_ticks, changed_by, soft_deleted, field_values, named, place)
        ) end as known
        offset 0
    ) v
    cross join lateral jsonb_to_record(coalesce(v.known, '{}')) as r (
        name text, kananame text, department text, number1 text, number2 text, "orgNr" text, "soundEx" text,
        dbi_key text, associate_id text, country_id text, business_idx text, category_idx text,
        registered_associate_id text, updated_associate_id text, text_id text, mother_id text, userdef_id text,
        userdef2_id text, group_id text, "tzLocationId" text, "ticketPriorityId" text, "supportLanguageId" text,
        "supportAssociateId" text, "supportPersonId" text, dbi_agent_id text, source text,
        "activeInterests" text, "updatedCount" text, deleted text, "activeErpLinks" text, xstop text,
        nomailing text, registered text, updated text, "DeletedDate" text, dbi_last_syncronized text,
        dbi_last_modified text
    )
    left join lateral (
        -- The stretch in the recycle bin that has not ended.
        select true as soft_deleted,
            coalesce(
                (array_agg(s.deleted_date order by s.place desc) filter (where s.deleted_date is not null))[1],
                (array_agg(s.occurred_at order by s.place))[1]
            ) as since
        from (
            select f.place, f.occurred_at, f.soft_deleted,
                contactmirror_time(f.field_values ->> 'DeletedDate') at time zone 'UTC' as deleted_date,
                max(f.place) filter (where not f.soft_deleted) over () as restored
            from unnest(t.facts) with ordinality f (event, event_id, occurred_at, occurred_ticks, changed_by, soft_deleted, field_values, named, place)
        ) s
        where t.was_soft_deleted and s.soft_deleted and s.place > coalesce(s.restored, 0)
        having count(*) > 0
    ) bin on true
    cross join lateral (
        select case
            when t.bare then array[
                    'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
                    'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
                    'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
                    'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
                    'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count',
                    'deleted', 'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated',
                    'deleted_date', 'dbi_last_syncronized', 'dbi_last_modified'
            ]
            else (
                select coalesce(array_agg(c.column_name order by c.place) filter (where not k.settled ? c.source_name), '{}')
                from (
                    select contactmirror_settled(f.named, f.field_values order by f.place) as settled
                    from unnest(t.facts) with ordinality f (event, event_id, occurred_at, occurred_ticks, changed_by, soft_deleted, field_values, named, place)
                ) k
                cross join unnest(array[
                    'name', 'kananame', 'department', 'number1', 'number2', 'orgNr', 'soundEx', 'dbi_key',
                    'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
                    'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
                    'tzLocationId', 'ticketPriorityId', 'supportLanguageId', 'supportAssociateId',
                    'supportPersonId', 'dbi_agent_id', 'source', 'activeInterests', 'updatedCount', 'deleted',
                    'activeErpLinks', 'xstop', 'nomailing', 'registered', 'updated', 'DeletedDate',
                    'dbi_last_syncronized', 'dbi_last_modified'
                ], array[
                    'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
                    'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
                    'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
                    'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
                    'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count',
                    'deleted', 'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated',
                    'deleted_date', 'dbi_last_syncronized', 'dbi_last_modified'
                ]) with ordinality c (source_name, column_name, place)
            )
        end as pending_columns
        offset 0
    ) p;
end
$$;

COMMENT ON FUNCTION public.contactmirror_refold(at timestamp with time zone, by_arrival boolean, tenant text, contact bigint) IS 'The contacts about which anything happened (or, by arrival, was written) after a time, folded from their facts up to it. pending_columns is NULL where it holds the columns that SuperOffice 11 sends no value for: that would be most of a row.';

CREATE FUNCTION public.contactmirror_require_drawn() RETURNS trigger
    LANGUAGE plpgsql
    SET jit TO 'off'
    AS $$
declare
    lowest bigint;
    highest bigint;
    above boolean; -- no note of the horizon that this transaction does not keep from being settled covers them
    event bigint; -- the greatest that a row refers to
    fine boolean;
begin
    if pg_has_role((select c.relowner from pg_class c where c.oid = tg_relid), 'usage') then
        return null;
    end if;
    case tg_table_name
        when 'webhook_events' then
            select min(i.event_seq), max(i.event_seq) into lowest, highest from inserted i;
            select lowest > h.event_seq and (lowest > h.noted_event_seq or h.noted_by > pg_current_xact_id()) into above from log_horizon h where h.id = 1;
            fine := above and highest <= coalesce(pg_sequence_last_value('webhook_events_event_seq_seq'), 0);
        when 'contact_audit_log' then
            select min(i.audit_seq), max(i.audit_seq), max(i.event_seq) into lowest, highest, event from inserted i;
            select lowest > h.audit_seq and (lowest > h.noted_audit_seq or h.noted_by > pg_current_xact_id()) into above from log_horizon h where h.id = 1;
            fine := above and highest <= coalesce(pg_sequence_last_value('contact_audit_log_audit_seq_seq'), 0);
        else
            select max(i.event_seq) into event from inserted i;
    end case;
    if not (coalesce(fine, true) and coalesce(event, 0) <= coalesce(pg_sequence_last_value('webhook_events_event_seq_seq'), 0)) then
        raise exception 'permission denied to choose numbers of %', tg_table_name
            using errcode = 'insufficient_privilege', hint = 'draw them from the sequence';
    end if;
    return null;
end
$$;

COMMENT ON FUNCTION public.contactmirror_require_drawn() IS 'Refuses rows of roles other than the owner whose numbers, or the numbers of events that they refer to, were not drawn from the sequence, or are not above log_horizon.';

CREATE FUNCTION public.contactmirror_require_read_committed() RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'this works in READ COMMITTED only: an older snapshot does not see what others have committed meanwhile'
            using errcode = 'object_not_in_prerequisite_state', hint = 'begin isolation level read committed';
    end if;
    return true;
end
$$;

COMMENT ON FUNCTION public.contactmirror_require_read_committed() IS 'Fails in any transaction that is not READ COMMITTED. For functions and statements that wait for a lock and then look.';

CREATE FUNCTION public.contactmirror_require_restored(sealed boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET jit TO 'off'
    AS $$
declare
    missing text;
    stale   text;
begin
    select string_agg(k.name, ', ')
    into missing
    from unnest(array[
        'webhook_events_pkey', 'webhook_events_key', 'webhook_events_keyless_sha256', 'webhook_bodies_pkey',
        'duplicate_deliveries_pkey',
        'quarantined_deliveries_pkey', 'quarantined_deliveries_event', 'quarantined_deliveries_body',
        'sync_shards_pkey', 'sync_queue_pkey',
        'contacts_pkey', 'contact_tombstones_pkey', 'contact_audit_log_pkey', 'contact_audit_log_event_seq',
        'erasures_pkey', 'erasures_in_force',
        'log_horizon_pkey', 'accounting_seal_pkey', 'sealed_accounts_pkey'
    ]) as k (name)
    -- A subquery, not a join, which would read all of pg_index: this runs for each batch.
    where not coalesce((select i.indisvalid from pg_index i where i.indexrelid = to_regclass(k.name)), false);
    if missing is not null then
        raise exception 'the tables lack keys: a restore is under way, or has failed'
            using errcode = 'object_not_in_prerequisite_state', detail = 'missing: ' || missing;
    end if;
    -- Tables that migrations fill. The newest row of the log is never beyond the head
    -- of its chain, and no tenant is counted beyond the seal.
    stale := concat_ws(', ',
        case when not exists (select from sync_shards) or exists (
            select
            from (select a.shard, a.chain_seq from contact_audit_log a order by a.audit_seq desc limit 1) newest
            join sync_shards s on s.shard = newest.shard
            where s.audit_count < newest.chain_seq
        ) then 'sync_shards' end,
        case when not exists (select from log_horizon) then 'log_horizon' end,
        case when not exists (select from accounting_seal) or sealed and exists (
            select from sealed_accounts a where a.newest_event_seq > (select c.event_seq from accounting_seal c)
        ) then 'accounting_seal' end
    );
    if stale <> '' then
        raise exception 'rows were restored, but not those of %', stale
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'migrations have filled sync_shards, log_horizon and accounting_seal: empty these three tables with truncate, and restore their rows';
    end if;
    return true;
end
$$;

COMMENT ON FUNCTION public.contactmirror_require_restored(sealed boolean) IS 'Fails in the middle of a restore, and after one that has left out rows. A restore makes keys after all rows are there: without them, neither the rows nor the sequences need be complete, and nothing must be applied or counted. A restore of rows alone can''t load the tables that migrations have filled, unless they were emptied: the chains would be continued from their start, and the logs counted twice. The latter is looked for where asked (sealed), because it costs a look at every tenant.';

CREATE FUNCTION public.contactmirror_sent() RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '60868148736'::bigint;

COMMENT ON FUNCTION public.contactmirror_sent() IS 'The columns whose values SuperOffice 11 sends with its events, as in given_columns. Others are only read faster for knowing it: no result depends on it.';

CREATE FUNCTION public.contactmirror_standing(at timestamp with time zone, by_arrival boolean, tenant text, contact bigint) RETURNS SETOF public.contact_as_of
    LANGUAGE sql STABLE ROWS 100000 PARALLEL RESTRICTED
    BEGIN ATOMIC
 SELECT c.context_identifier,
     c.contact_id,
     c.name,
     c.kananame,
     c.department,
     c.number1,
     c.number2,
     c.org_nr,
     c.sound_ex,
     c.dbi_key,
     c.associate_id,
     c.country_id,
     c.business_idx,
     c.category_idx,
     c.registered_associate_id,
     c.updated_associate_id,
     c.text_id,
     c.mother_id,
     c.userdef_id,
     c.userdef2_id,
     c.group_id,
     c.tz_location_id,
     c.ticket_priority_id,
     c.support_language_id,
     c.support_associate_id,
     c.support_person_id,
     c.dbi_agent_id,
     c.source,
     c.active_interests,
     c.updated_count,
     c.deleted,
     c.active_erp_links,
     c.xstop,
     c.nomailing,
     c.registered,
     c.updated,
     c.deleted_date,
     c.dbi_last_syncronized,
     c.dbi_last_modified,
     c.soft_deleted,
     c.soft_deleted_at,
     c.pending_columns,
     c.last_event,
     c.last_event_id,
     c.last_event_at,
     c.last_event_ticks,
     c.last_changed_by_associate_id
    FROM public.contacts c
   WHERE (((contactmirror_standing.tenant IS NULL) OR (c.context_identifier = contactmirror_standing.tenant)) AND ((contactmirror_standing.contact IS NULL) OR (c.contact_id = contactmirror_standing.contact)) AND ((contactmirror_standing.by_arrival AND (c.mirrored_at <= contactmirror_standing.at)) OR ((NOT contactmirror_standing.by_arrival) AND (c.last_event_at <= contactmirror_standing.at))))
 UNION ALL
  SELECT r.context_identifier,
     r.contact_id,
     r.name,
     r.kananame,
     r.department,
     r.number1,
     r.number2,
     r.org_nr,
     r.sound_ex,
     r.dbi_key,
     r.associate_id,
     r.country_id,
     r.business_idx,
     r.category_idx,
     r.registered_associate_id,
     r.updated_associate_id,
     r.text_id,
     r.mother_id,
     r.userdef_id,
     r.userdef2_id,
     r.group_id,
     r.tz_location_id,
     r.ticket_priority_id,
     r.support_language_id,
     r.support_associate_id,
     r.support_person_id,
     r.dbi_agent_id,
     r.source,
     r.active_interests,
     r.updated_count,
     r.deleted,
     r.active_erp_links,
     r.xstop,
     r.nomailing,
     r.registered,
     r.updated,
     r.deleted_date,
     r.dbi_last_syncronized,
     r.dbi_last_modified,
     r.soft_deleted,
     r.soft_deleted_at,
     COALESCE(r.pending_columns, ARRAY['name'::text, 'kananame'::text, 'department'::text, 'number1'::text, 'number2'::text, 'org_nr'::text, 'sound_ex'::text, 'dbi_key'::text, 'updated_associate_id'::text, 'text_id'::text, 'mother_id'::text, 'group_id'::text, 'tz_location_id'::text, 'ticket_priority_id'::text, 'support_language_id'::text, 'support_associate_id'::text, 'support_person_id'::text, 'dbi_agent_id'::text, 'updated_count'::text, 'active_erp_links'::text, 'xstop'::text, 'nomailing'::text, 'dbi_last_syncronized'::text, 'dbi_last_modified'::text]) AS "coalesce",
     r.last_event,
     r.last_event_id,
     r.last_event_at,
     r.last_event_ticks,
     r.last_changed_by_associate_id
    FROM public.contactmirror_refold(contactmirror_standing.at, contactmirror_standing.by_arrival, contactmirror_standing.tenant, contactmirror_standing.contact) r(context_identifier, contact_id, name, kananame, department, number1, number2, org_nr, sound_ex, dbi_key, associate_id, country_id, business_idx, category_idx, registered_associate_id, updated_associate_id, text_id, mother_id, userdef_id, userdef2_id, group_id, tz_location_id, ticket_priority_id, support_language_id, support_associate_id, support_person_id, dbi_agent_id, source, active_interests, updated_count, deleted, active_erp_links, xstop, nomailing, registered, updated, deleted_date, dbi_last_syncronized, dbi_last_modified, soft_deleted, soft_deleted_at, pending_columns, last_event, last_event_id, last_event_at, last_event_ticks, last_changed_by_associate_id);
END;

COMMENT ON FUNCTION public.contactmirror_standing(at timestamp with time zone, by_arrival boolean, tenant text, contact bigint) IS 'The mirror as of a time, by when facts occurred or by when they were recorded.';

CREATE FUNCTION public.contactmirror_strip_delivery(quarantine_seq bigint, context_identifier text, contact_id bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
begin
    perform contactmirror_require_read_committed();
    update quarantined_deliveries q
    set reason = contactmirror_reason_without_values(q.reason), headers = null, signatures = null, body = '', body_sha256 = uuid_send(gen_random_uuid()), bytes_removed_at = now()
    where q.quarantine_seq = $1 and q.event_seq is null and q.resolution = 'retried' and q.bytes_removed_at is null
        and contactmirror_is_erased($2, $3, q.received_at);
    return found;
end
$_$;

COMMENT ON FUNCTION public.contactmirror_strip_delivery(quarantine_seq bigint, context_identifier text, contact_id bigint) IS 'Removes the bytes of a quarantined delivery that was retried and became an event of an erased contact. Reports whether it did.';

CREATE FUNCTION public.contactmirror_strip_events(event_seqs bigint[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
declare
    erased  bigint[];
    removed bigint := 0;
    part    record;
    bodies  bigint;
begin
    perform contactmirror_require_read_committed();
    for part in
        select e.ignored, date_trunc('day', e.received_at, 'UTC') as day, array_agg(e.event_seq) as event_seqs
        from unnest(event_seqs) as s (event_seq)
        cross join lateral (
            select w.event_seq, w.context_identifier, w.primary_key, w.received_at, w.ignored
            from webhook_events w
            where w.event_seq = s.event_seq
            limit 1
        ) e
        where contactmirror_is_erased(e.context_identifier, e.primary_key, e.received_at)
            and (
                e.ignored
                or exists (select from contact_audit_log a where a.event_seq = e.event_seq)
                or exists (select from quarantined_deliveries q where q.event_seq = e.event_seq and q.resolution = 'discarded')
            )
        group by e.ignored, day
    loop
        delete from webhook_bodies b
        where b.event_seq = any (part.event_seqs) and b.ignored = part.ignored
            and b.received_at >= part.day and b.received_at < part.day + interval '24 hours';
        get diagnostics bodies = row_count;
        removed := removed + bodies;
        erased := erased || part.event_seqs;
    end loop;
    update duplicate_deliveries set body_sha256 = '' where event_seq = any (erased) and body_sha256 <> '';
    update quarantined_deliveries
    set reason = contactmirror_reason_without_values(reason), headers = null, signatures = null, body = '', body_sha256 = '', bytes_removed_at = now()
    where event_seq = any (erased) and (bytes_removed_at is null or body <> '');
    return removed;
end
$$;

COMMENT ON FUNCTION public.contactmirror_strip_events(event_seqs bigint[]) IS 'Removes the bytes of those of the events that are applied, ignored or discarded, and whose contact has been erased: bodies, hashes of duplicates, quarantine. Returns how many bodies there were.';

CREATE FUNCTION public.contactmirror_unsealed_events() RETURNS TABLE(context_identifier text, accepted bigint, ignored bigint, mirrored_since timestamp with time zone, newest_received_at timestamp with time zone, newest_occurred_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET max_parallel_workers_per_gather TO '0'
    AS $$
    select e.context_identifier, count(*), count(*) filter (where e.ignored),
        min(e.received_at) filter (where not e.ignored),
        max(e.received_at) filter (where not e.ignored),
        max(e.occurred_at) filter (where not e.ignored)
    from webhook_events e
    where e.event_seq > (select s.event_seq from accounting_seal s where s.id = 1)
    group by e.context_identifier
$$;

COMMENT ON FUNCTION public.contactmirror_unsealed_events() IS 'What sealed_accounts lacks of webhook_events: the counts and times of the events after accounting_seal, for each tenant.';

CREATE FUNCTION public.contactmirror_unsealed_outcomes() RETURNS TABLE(context_identifier text, applied bigint, no_op bigint, superseded bigint, after_delete bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET max_parallel_workers_per_gather TO '0'
    AS $$
    select a.context_identifier,
        count(*) filter (where a.outcome = 'applied'),
        count(*) filter (where a.outcome = 'no_op'),
        count(*) filter (where a.outcome = 'superseded'),
        count(*) filter (where a.outcome = 'after_delete')
    from contact_audit_log a
    where a.audit_seq > (select s.audit_seq from accounting_seal s where s.id = 1) and a.origin = 'webhook'
    group by a.context_identifier
$$;

COMMENT ON FUNCTION public.contactmirror_unsealed_outcomes() IS 'What sealed_accounts lacks of contact_audit_log: the outcomes of the webhook events after accounting_seal, for each tenant.';

CREATE FUNCTION public.contactmirror_vouched(tenant text, vouched_for text[], vouched_except text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    RETURN ((vouched_for IS NULL) OR (tenant = ANY (vouched_for)) OR (('*'::text = ANY (vouched_for)) AND (NOT COALESCE((tenant = ANY (vouched_except)), false))));

COMMENT ON FUNCTION public.contactmirror_vouched(tenant text, vouched_for text[], vouched_except text[]) IS 'Whether an unreadable delivery may be the tenant''s: see quarantined_deliveries.vouched_for (vouched_for, vouched_except).';

CREATE FUNCTION public.contacts_as_known_at(at timestamp with time zone, context_identifier text DEFAULT NULL::text, contact_id bigint DEFAULT NULL::bigint) RETURNS SETOF public.contact_as_of
    LANGUAGE sql STABLE ROWS 100000 PARALLEL RESTRICTED
    BEGIN ATOMIC
 SELECT contactmirror_standing.context_identifier,
     contactmirror_standing.contact_id,
     contactmirror_standing.name,
     contactmirror_standing.kananame,
     contactmirror_standing.department,
     contactmirror_standing.number1,
     contactmirror_standing.number2,
     contactmirror_standing.org_nr,
     contactmirror_standing.sound_ex,
     contactmirror_standing.dbi_key,
     contactmirror_standing.associate_id,
     contactmirror_standing.country_id,
     contactmirror_standing.business_idx,
     contactmirror_standing.category_idx,
     contactmirror_standing.registered_associate_id,
     contactmirror_standing.updated_associate_id,
     contactmirror_standing.text_id,
     contactmirror_standing.mother_id,
     contactmirror_standing.userdef_id,
     contactmirror_standing.userdef2_id,
     contactmirror_standing.group_id,
     contactmirror_standing.tz_location_id,
     contactmirror_standing.ticket_priority_id,
     contactmirror_standing.support_language_id,
     contactmirror_standing.support_associate_id,
     contactmirror_standing.support_person_id,
     contactmirror_standing.dbi_agent_id,
     contactmirror_standing.source,
     contactmirror_standing.active_interests,
     contactmirror_standing.updated_count,
     contactmirror_standing.deleted,
     contactmirror_standing.active_erp_links,
     contactmirror_standing.xstop,
     contactmirror_standing.nomailing,
     contactmirror_standing.registered,
     contactmirror_standing.updated,
     contactmirror_standing.deleted_date,
     contactmirror_standing.dbi_last_syncronized,
     contactmirror_standing.dbi_last_modified,
     contactmirror_standing.soft_deleted,
     contactmirror_standing.soft_deleted_at,
     contactmirror_standing.pending_columns,
     contactmirror_standing.last_event,
     contactmirror_standing.last_event_id,
     contactmirror_standing.last_event_at,
     contactmirror_standing.last_event_ticks,
     contactmirror_standing.last_changed_by_associate_id
    FROM public.contactmirror_standing(contacts_as_known_at.at, true, contacts_as_known_at.context_identifier, contacts_as_known_at.contact_id) contactmirror_standing(context_identifier, contact_id, name, kananame, department, number1, number2, org_nr, sound_ex, dbi_key, associate_id, country_id, business_idx, category_idx, registered_associate_id, updated_associate_id, text_id, mother_id, userdef_id, userdef2_id, group_id, tz_location_id, ticket_priority_id, support_language_id, support_associate_id, support_person_id, dbi_agent_id, source, active_interests, updated_count, deleted, active_erp_links, xstop, nomailing, registered, updated, deleted_date, dbi_last_syncronized, dbi_last_modified, soft_deleted, soft_deleted_at, pending_columns, last_event, last_event_id, last_event_at, last_event_ticks, last_changed_by_associate_id);
END;

COMMENT ON FUNCTION public.contacts_as_known_at(at timestamp with time zone, context_identifier text, contact_id bigint) IS 'contacts_as_known_at(at, context_identifier, contact_id): the mirror as this database knew it at a time, from all facts recorded by then, exact to the longest apply transaction. context_identifier and contact_id may be left out: then of all tenants, or all contacts. Fails for an unknown tenant.';

CREATE FUNCTION public.contacts_as_of(at timestamp with time zone, context_identifier text DEFAULT NULL::text, contact_id bigint DEFAULT NULL::bigint) RETURNS SETOF public.contact_as_of
    LANGUAGE sql STABLE ROWS 100000 PARALLEL RESTRICTED
    BEGIN ATOMIC
 SELECT contactmirror_standing.context_identifier,
     contactmirror_standing.contact_id,
     contactmirror_standing.name,
     contactmirror_standing.kananame,
     contactmirror_standing.department,
     contactmirror_standing.number1,
     contactmirror_standing.number2,
     contactmirror_standing.org_nr,
     contactmirror_standing.sound_ex,
     contactmirror_standing.dbi_key,
     contactmirror_standing.associate_id,
     contactmirror_standing.country_id,
     contactmirror_standing.business_idx,
     contactmirror_standing.category_idx,
     contactmirror_standing.registered_associate_id,
     contactmirror_standing.updated_associate_id,
     contactmirror_standing.text_id,
     contactmirror_standing.mother_id,
     contactmirror_standing.userdef_id,
     contactmirror_standing.userdef2_id,
     contactmirror_standing.group_id,
     contactmirror_standing.tz_location_id,
     contactmirror_standing.ticket_priority_id,
     contactmirror_standing.support_language_id,
     contactmirror_standing.support_associate_id,
     contactmirror_standing.support_person_id,
     contactmirror_standing.dbi_agent_id,
     contactmirror_standing.source,
     contactmirror_standing.active_interests,
     contactmirror_standing.updated_count,
     contactmirror_standing.deleted,
     contactmirror_standing.active_erp_links,
     contactmirror_standing.xstop,
     contactmirror_standing.nomailing,
     contactmirror_standing.registered,
     contactmirror_standing.updated,
     contactmirror_standing.deleted_date,
     contactmirror_standing.dbi_last_syncronized,
     contactmirror_standing.dbi_last_modified,
     contactmirror_standing.soft_deleted,
     contactmirror_standing.soft_deleted_at,
     contactmirror_standing.pending_columns,
     contactmirror_standing.last_event,
     contactmirror_standing.last_event_id,
     contactmirror_standing.last_event_at,
     contactmirror_standing.last_event_ticks,
     contactmirror_standing.last_changed_by_associate_id
    FROM public.contactmirror_standing(contacts_as_of.at, false, contacts_as_of.context_identifier, contacts_as_of.contact_id) contactmirror_standing(context_identifier, contact_id, name, kananame, department, number1, number2, org_nr, sound_ex, dbi_key, associate_id, country_id, business_idx, category_idx, registered_associate_id, updated_associate_id, text_id, mother_id, userdef_id, userdef2_id, group_id, tz_location_id, ticket_priority_id, support_language_id, support_associate_id, support_person_id, dbi_agent_id, source, active_interests, updated_count, deleted, active_erp_links, xstop, nomailing, registered, updated, deleted_date, dbi_last_syncronized, dbi_last_modified, soft_deleted, soft_deleted_at, pending_columns, last_event, last_event_id, last_event_at, last_event_ticks, last_changed_by_associate_id);
END;

COMMENT ON FUNCTION public.contacts_as_of(at timestamp with time zone, context_identifier text, contact_id bigint) IS 'contacts_as_of(at, context_identifier, contact_id): the mirror as it was at the source at a time, from all facts that occurred by then, whenever they arrived. A fact occurred at its occurred_at, which is cut to microseconds: so one whose occurred_ticks are up to 900 ns later than at is included. context_identifier and contact_id may be left out: then of all tenants, or all contacts. Fails for an unknown tenant.';

CREATE FUNCTION public.seal_accounts(max_rows integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
declare
    s accounting_seal;
    h log_horizon;
    events bigint;
    audited bigint;
    last_event_seq bigint;
    last_audit_seq bigint;
begin
    if max_rows is null or max_rows < 1 then
        raise exception 'max_rows must be 1 or more' using errcode = 'invalid_parameter_value';
    end if;
    perform contactmirror_require_restored(sealed => true);
    select * into s from accounting_seal c where c.id = 1 for update skip locked;
    if not found then
        return null;
    end if;
    select * into h from log_horizon l where l.id = 1;

    with closed as (
        select e.event_seq, e.context_identifier, e.ignored, e.received_at, e.occurred_at
        from webhook_events e
        where e.event_seq > s.event_seq and e.event_seq <= h.event_seq
        order by e.event_seq
        limit max_rows
    ), counted as materialized (
        select c.context_identifier, count(*) as accepted, count(*) filter (where c.ignored) as ignored, max(c.event_seq) as last,
            min(c.received_at) filter (where not c.ignored) as mirrored_since,
            max(c.received_at) filter (where not c.ignored) as newest_received_at,
            max(c.occurred_at) filter (where not c.ignored) as newest_occurred_at
        from closed c
        group by c.context_identifier
    ), added as (
        insert into sealed_accounts as a (
            context_identifier, newest_event_seq, mirrored_since, newest_received_at, newest_occurred_at,
            accepted, ignored, applied, no_op, superseded, after_delete
        )
        select c.context_identifier, c.last, c.mirrored_since, c.newest_received_at, c.newest_occurred_at, c.accepted, c.ignored, 0, 0, 0, 0
        from counted c
        on conflict (context_identifier) do update
        set newest_event_seq = greatest(a.newest_event_seq, excluded.newest_event_seq),
            mirrored_since = least(a.mirrored_since, excluded.mirrored_since),
            newest_received_at = greatest(a.newest_received_at, excluded.newest_received_at),
            newest_occurred_at = greatest(a.newest_occurred_at, excluded.newest_occurred_at),
            accepted = a.accepted + excluded.accepted,
            ignored = a.ignored + excluded.ignored
    )
    select coalesce(sum(c.accepted), 0), max(c.last) into events, last_event_seq from counted c;

    with closed as (
        select a.audit_seq, a.context_identifier, a.outcome, a.origin
        from contact_audit_log a
        where a.audit_seq > s.audit_seq and a.audit_seq <= h.audit_seq
        order by a.audit_seq
        limit max_rows
    ), counted as materialized (
        select c.context_identifier, count(*) as all_rows, max(c.audit_seq) as last,
            count(*) filter (where c.origin = 'webhook' and c.outcome = 'applied') as applied,
            count(*) filter (where c.origin = 'webhook' and c.outcome = 'no_op') as no_op,
            count(*) filter (where c.origin = 'webhook' and c.outcome = 'superseded') as superseded,
            count(*) filter (where c.origin = 'webhook' and c.outcome = 'after_delete') as after_delete
        from closed c
        group by c.context_identifier
    ), added as (
        insert into sealed_accounts as a (context_identifier, accepted, ignored, applied, no_op, superseded, after_delete)
        select c.context_identifier, 0, 0, c.applied, c.no_op, c.superseded, c.after_delete
        from counted c
        on conflict (context_identifier) do update
        set applied = a.applied + excluded.applied,
            no_op = a.no_op + excluded.no_op,
            superseded = a.superseded + excluded.superseded,
            after_delete = a.after_delete + excluded.after_delete
    )
    select coalesce(sum(c.all_rows), 0), max(c.last) into audited, last_audit_seq from counted c;

    update accounting_seal c
    set event_seq = case when events < max_rows then greatest(s.event_seq, h.event_seq) else last_event_seq end,
        audit_seq = case when audited < max_rows then greatest(s.audit_seq, h.audit_seq) else last_audit_seq end
    where c.id = 1 and (s.event_seq < h.event_seq or s.audit_seq < h.audit_seq);
    return events + audited;
end
$$;

COMMENT ON FUNCTION public.seal_accounts(max_rows integer) IS 'seal_accounts(max_rows): counts up to max_rows rows of each log, below log_horizon, into sealed_accounts, and returns how many it found; NULL while another session runs it. Fails in the middle of a restore, and where rows are missing after it.';

CREATE TABLE public.accounting_seal (
    id smallint NOT NULL,
    event_seq bigint NOT NULL,
    audit_seq bigint NOT NULL,
    CONSTRAINT accounting_seal_one_row CHECK ((id = 1)),
    CONSTRAINT accounting_seal_range CHECK (((event_seq >= 0) AND (audit_seq >= 0)))
);

COMMENT ON TABLE public.accounting_seal IS 'One row: how far sealed_accounts has counted the logs. A transaction that counts further locks it.';

COMMENT ON COLUMN public.accounting_seal.id IS 'Always 1.';

COMMENT ON COLUMN public.accounting_seal.event_seq IS 'Up to here webhook_events is counted.';

COMMENT ON COLUMN public.accounting_seal.audit_seq IS 'Up to here contact_audit_log is counted.';

CREATE TABLE public.audit_adoptions (
    shard smallint NOT NULL,
    ordinal bigint NOT NULL,
    through_seq bigint NOT NULL,
    adopted_rows bigint NOT NULL,
    digest bytea NOT NULL,
    adopted_count bigint NOT NULL,
    adopted_head bytea,
    link bytea NOT NULL,
    adopted_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT audit_adoptions_count CHECK ((adopted_count >= 0)),
    CONSTRAINT audit_adoptions_digest CHECK ((octet_length(digest) = 32)),
    CONSTRAINT audit_adoptions_head CHECK ((octet_length(adopted_head) = 36)),
    CONSTRAINT audit_adoptions_link CHECK ((octet_length(link) = 36)),
    CONSTRAINT audit_adoptions_ordinal CHECK ((ordinal > 0)),
    CONSTRAINT audit_adoptions_rows CHECK ((adopted_rows >= 0)),
    CONSTRAINT audit_adoptions_shard CHECK (((shard >= 0) AND (shard <= 31)))
);

COMMENT ON TABLE public.audit_adoptions IS 'Chains of the audit log that an operator has accepted as they were, with audit adopt: for a first key, or after a break. verify lists what they cover as not proved. Append-only.';

COMMENT ON COLUMN public.audit_adoptions.shard IS 'The shard of the chain.';

COMMENT ON COLUMN public.audit_adoptions.ordinal IS 'Place among the adoptions of the shard, from 1.';

COMMENT ON COLUMN public.audit_adoptions.through_seq IS 'The greatest audit_seq in the log at the time: the adoption is about the shard''s rows up to it.';

COMMENT ON COLUMN public.audit_adoptions.adopted_rows IS 'How many rows these are.';

COMMENT ON COLUMN public.audit_adoptions.digest IS 'SHA-256 of these rows as they were, without values that can be erased.';

COMMENT ON COLUMN public.audit_adoptions.adopted_count IS 'Number of rows in the shard''s chain at the time: the next row has the place after it.';

COMMENT ON COLUMN public.audit_adoptions.adopted_head IS 'audit_head in sync_shards at the time; NULL where there was none.';

COMMENT ON COLUMN public.audit_adoptions.link IS 'Link that the next row of the shard follows: an HMAC of all other columns, made with the first key of the command, after the key''s id.';

COMMENT ON COLUMN public.audit_adoptions.adopted_at IS 'When, by the database''s clock.';

COMMENT ON COLUMN public.audit_adoptions.actor IS 'Who: the user and host that ran the command.';

COMMENT ON COLUMN public.audit_adoptions.reason IS 'Why, in the operator''s words.';

CREATE TABLE public.webhook_bodies (
    event_seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    ignored boolean NOT NULL,
    body bytea NOT NULL
)
PARTITION BY LIST (ignored);
ALTER TABLE ONLY public.webhook_bodies ALTER COLUMN body SET STATISTICS 0;

COMMENT ON TABLE public.webhook_bodies IS 'The bytes that each event came in, until retention drops them: in partitions of a day of receipt, contact events and ignored ones apart.';

COMMENT ON COLUMN public.webhook_bodies.event_seq IS 'The event in webhook_events.';

COMMENT ON COLUMN public.webhook_bodies.received_at IS 'When it arrived, as in webhook_events. With ignored, it decides the partition.';

COMMENT ON COLUMN public.webhook_bodies.ignored IS 'Whether it is not a contact event, as in webhook_events.';

COMMENT ON COLUMN public.webhook_bodies.body IS 'The request body, byte for byte, as it was signed; or the redacted body of an event of an erased contact.';

CREATE VIEW public.body_partitions AS
 SELECT (c.relname)::text AS partition_name,
    (pg_get_expr(branch.relpartbound, branch.oid) = 'FOR VALUES IN (true)'::text) AS ignored,
    (bounds.bounds[1])::timestamp with time zone AS received_from,
    (bounds.bounds[2])::timestamp with time zone AS received_before,
    pg_total_relation_size((c.oid)::regclass) AS bytes
   FROM ((((pg_inherits b
     JOIN pg_class branch ON ((branch.oid = b.inhrelid)))
     JOIN pg_inherits i ON ((i.inhparent = branch.oid)))
     JOIN pg_class c ON ((c.oid = i.inhrelid)))
     LEFT JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)'::text) bounds(bounds) ON (true))
  WHERE (b.inhparent = ('public.webhook_bodies'::regclass)::oid);

COMMENT ON VIEW public.body_partitions IS 'The partitions of webhook_bodies. Only the default ones, one for each branch, have no bounds.';

COMMENT ON COLUMN public.body_partitions.partition_name IS 'Name of the partition''s table.';

COMMENT ON COLUMN public.body_partitions.ignored IS 'Whether it holds the bodies of ignored events, or those of contact events.';

COMMENT ON COLUMN public.body_partitions.received_from IS 'Start of its day; NULL in a default partition.';

COMMENT ON COLUMN public.body_partitions.received_before IS 'Start of the next day; NULL in a default partition.';

COMMENT ON COLUMN public.body_partitions.bytes IS 'Its size on disk, indexes included.';

CREATE SEQUENCE public.contact_audit_log_audit_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.contact_audit_log_audit_seq_seq OWNED BY public.contact_audit_log.audit_seq;

CREATE VIEW public.contact_timeline AS
 SELECT a.context_identifier,
    a.contact_id,
    a.occurred_at,
    a.event,
        CASE
            WHEN (EXISTS ( SELECT
               FROM public.contact_tombstones t
              WHERE ((t.context_identifier = a.context_identifier) AND (t.contact_id = a.contact_id) AND (ROW(t.occurred_ticks, public.contactmirror_rank('contact.deleted'::text), t.event_id) < ROW(a.occurred_ticks, public.contactmirror_rank(a.event), a.event_id))))) THEN NULL::text
            WHEN a.hard_deleted THEN 'hard_deleted'::text
            WHEN (a.soft_deleted <> COALESCE(( SELECT b.soft_deleted
               FROM public.contact_audit_log b
              WHERE ((b.context_identifier = a.context_identifier) AND (b.contact_id = a.contact_id) AND (b.outcome IS NOT NULL) AND (b.soft_deleted IS NOT NULL) AND (b.occurred_ticks <= a.occurred_ticks) AND (ROW(b.occurred_ticks, public.contactmirror_rank(b.event), b.event_id) < ROW(a.occurred_ticks, public.contactmirror_rank(a.event), a.event_id)))
              ORDER BY b.occurred_ticks DESC, (public.contactmirror_rank(b.event)) DESC, b.event_id DESC
             LIMIT 1), false)) THEN
            CASE
                WHEN a.soft_deleted THEN 'soft_deleted'::text
                ELSE 'restored'::text
            END
            WHEN ((a.event = 'contact.created'::text) AND (NOT (EXISTS ( SELECT
               FROM public.contact_audit_log b
              WHERE ((b.context_identifier = a.context_identifier) AND (b.contact_id = a.contact_id) AND (b.outcome IS NOT NULL) AND (b.event = 'contact.created'::text) AND (b.occurred_ticks <= a.occurred_ticks) AND (ROW(b.occurred_ticks, b.event_id) < ROW(a.occurred_ticks, a.event_id))))))) THEN 'created'::text
            ELSE NULL::text
        END AS transition,
    a.changed_by_associate_id,
    a.changed_columns,
    a.field_values,
    a.unreadable_columns,
    a.id_values,
    a.soft_deleted,
    a.hard_deleted,
    a.outcome,
    a.effect,
    a.origin,
    a.webhook_name,
    a.received_at,
    a.recorded_at,
    a.last_known,
    a.erased_columns,
    a.event_id,
    a.event_seq,
    a.audit_seq,
    a.occurred_ticks,
    public.contactmirror_rank(a.event) AS event_rank
   FROM public.contact_audit_log a
  WHERE (a.outcome IS NOT NULL);

COMMENT ON VIEW public.contact_timeline IS 'One line for each event of a contact: when, what, by whom, and what became of it. In the source''s order by occurred_ticks, event_rank, event_id; newest recorded first by audit_seq desc.';

COMMENT ON COLUMN public.contact_timeline.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.contact_timeline.contact_id IS 'The contact.';

COMMENT ON COLUMN public.contact_timeline.occurred_at IS 'SuperOffice''s Timestamp, cut to microseconds.';

COMMENT ON COLUMN public.contact_timeline.event IS 'SuperOffice''s name of the event.';

COMMENT ON COLUMN public.contact_timeline.transition IS 'The lifecycle transition that the event was, in the source''s order: created (the first contact.created), soft_deleted, restored, hard_deleted. NULL for any other event, and for all after the first hard delete. A contact.created that sets or clears the flag is soft_deleted or restored. Each soft_deleted and hard_deleted is a line of deleted_contacts, and each restored a restored_at there.';

COMMENT ON COLUMN public.contact_timeline.changed_by_associate_id IS 'Who caused the event; NULL where it does not say.';

COMMENT ON COLUMN public.contact_timeline.changed_columns IS 'SuperOffice''s Changes: names of columns, verbatim.';

COMMENT ON COLUMN public.contact_timeline.field_values IS 'The values the event gave contact columns, under SuperOffice''s names, as sent.';

COMMENT ON COLUMN public.contact_timeline.unreadable_columns IS 'Columns to which the event gave a value that can''t be read.';

COMMENT ON COLUMN public.contact_timeline.id_values IS 'SuperOffice''s Values, the ids of a dead row.';

COMMENT ON COLUMN public.contact_timeline.soft_deleted IS 'What the event says of the soft-delete flag; NULL where it says nothing, and on a hard delete.';

COMMENT ON COLUMN public.contact_timeline.hard_deleted IS 'The event is a hard delete.';

COMMENT ON COLUMN public.contact_timeline.outcome IS 'What became of it: applied, no_op, superseded, after_delete.';

COMMENT ON COLUMN public.contact_timeline.effect IS 'What it did to the contact when it was applied: upserted, soft_deleted, restored, deleted, unchanged.';

COMMENT ON COLUMN public.contact_timeline.origin IS 'Where the fact came from: webhook, backfill, fetch or reconcile.';

COMMENT ON COLUMN public.contact_timeline.webhook_name IS 'Name of the webhook definition at SuperOffice.';

COMMENT ON COLUMN public.contact_timeline.received_at IS 'When the event arrived, by the receiver''s clock.';

COMMENT ON COLUMN public.contact_timeline.recorded_at IS 'When it was applied, by the database''s clock.';

COMMENT ON COLUMN public.contact_timeline.last_known IS 'On a hard delete: the row that contacts held when the event was applied. deleted_contacts has the contact as it was at the source.';

COMMENT ON COLUMN public.contact_timeline.erased_columns IS 'The columns that it gave values which were erased since; NULL where nothing was.';

COMMENT ON COLUMN public.contact_timeline.event_id IS 'SuperOffice''s EventId.';

COMMENT ON COLUMN public.contact_timeline.event_seq IS 'The event in webhook_events; NULL where the fact did not come by webhook.';

COMMENT ON COLUMN public.contact_timeline.audit_seq IS 'The row in contact_audit_log.';

COMMENT ON COLUMN public.contact_timeline.occurred_ticks IS 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';

COMMENT ON COLUMN public.contact_timeline.event_rank IS 'Order of the event''s kind among events of the same instant.';

CREATE VIEW public.deleted_contacts AS
 SELECT d.context_identifier,
    d.contact_id,
    d.occurred_at AS deleted_at,
        CASE
            WHEN d.hard_deleted THEN 'hard'::text
            ELSE 'soft'::text
        END AS deletion,
    d.changed_by_associate_id AS deleted_by_associate_id,
        CASE
            WHEN (t.contact_id IS NULL) THEN c.name
            ELSE ( SELECT (n.field_values ->> 'name'::text)
               FROM public.contact_audit_log n
              WHERE ((n.context_identifier = d.context_identifier) AND (n.contact_id = d.contact_id) AND (n.outcome IS NOT NULL) AND (n.field_values ? 'name'::text) AND (n.occurred_ticks <= t.occurred_ticks) AND (ROW(n.occurred_ticks, public.contactmirror_rank(n.event), n.event_id) < ROW(t.occurred_ticks, public.contactmirror_rank('contact.deleted'::text), t.event_id)))
              ORDER BY n.occurred_ticks DESC, (public.contactmirror_rank(n.event)) DESC, n.event_id DESC
             LIMIT 1)
        END AS name,
        CASE
            WHEN (t.contact_id IS NULL) THEN public.contactmirror_row(c.*)
            ELSE public.contactmirror_known_before(d.context_identifier, d.contact_id, t.occurred_ticks, 'contact.deleted'::text, t.event_id)
        END AS last_known,
        CASE
            WHEN d.soft_deleted THEN ( SELECT n.occurred_at
               FROM public.contact_audit_log n
              WHERE ((n.context_identifier = d.context_identifier) AND (n.contact_id = d.contact_id) AND (n.outcome IS NOT NULL) AND (NOT n.soft_deleted) AND (n.occurred_ticks >= d.occurred_ticks) AND (ROW(n.occurred_ticks, public.contactmirror_rank(n.event), n.event_id) > ROW(d.occurred_ticks, public.contactmirror_rank(d.event), d.event_id)) AND ((t.occurred_ticks IS NULL) OR (ROW(n.occurred_ticks, public.contactmirror_rank(n.event), n.event_id) < ROW(t.occurred_ticks, public.contactmirror_rank('contact.deleted'::text), t.event_id))))
              ORDER BY n.occurred_ticks, (public.contactmirror_rank(n.event)), n.event_id
             LIMIT 1)
            ELSE NULL::timestamp with time zone
        END AS restored_at,
    t.deleted_at AS hard_deleted_at,
    d.event,
    d.event_id,
    d.event_seq,
    d.audit_seq,
    d.origin,
    d.occurred_at,
    d.occurred_ticks,
    public.contactmirror_rank(d.event) AS event_rank
   FROM ((public.contact_audit_log d
     LEFT JOIN public.contact_tombstones t ON (((t.context_identifier = d.context_identifier) AND (t.contact_id = d.contact_id))))
     LEFT JOIN public.contacts c ON (((c.context_identifier = d.context_identifier) AND (c.contact_id = d.contact_id))))
  WHERE ((d.soft_deleted OR d.hard_deleted) AND
        CASE
            WHEN d.hard_deleted THEN ((d.occurred_ticks = t.occurred_ticks) AND (d.event_id = t.event_id))
            ELSE (((t.occurred_ticks IS NULL) OR (ROW(d.occurred_ticks, public.contactmirror_rank(d.event), d.event_id) < ROW(t.occurred_ticks, public.contactmirror_rank('contact.deleted'::text), t.event_id))) AND (NOT COALESCE(( SELECT b.soft_deleted
               FROM public.contact_audit_log b
              WHERE ((b.context_identifier = d.context_identifier) AND (b.contact_id = d.contact_id) AND (b.outcome IS NOT NULL) AND (b.soft_deleted IS NOT NULL) AND (b.occurred_ticks <= d.occurred_ticks) AND (ROW(b.occurred_ticks, public.contactmirror_rank(b.event), b.event_id) < ROW(d.occurred_ticks, public.contactmirror_rank(d.event), d.event_id)))
              ORDER BY b.occurred_ticks DESC, (public.contactmirror_rank(b.event)) DESC, b.event_id DESC
             LIMIT 1), false)))
        END);

COMMENT ON VIEW public.deleted_contacts IS 'One line for each deletion: each time a contact came into the recycle bin, and its hard delete (of several the earliest).';

COMMENT ON COLUMN public.deleted_contacts.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.deleted_contacts.contact_id IS 'The contact.';

COMMENT ON COLUMN public.deleted_contacts.deleted_at IS 'When: SuperOffice''s Timestamp of the event, cut to microseconds.';

COMMENT ON COLUMN public.deleted_contacts.deletion IS 'soft: into the recycle bin; hard: permanently.';

COMMENT ON COLUMN public.deleted_contacts.deleted_by_associate_id IS 'Who caused the event; NULL where it does not say.';

COMMENT ON COLUMN public.deleted_contacts.name IS 'The contact''s name, as in last_known; NULL where it was never known.';

COMMENT ON COLUMN public.deleted_contacts.last_known IS 'The contact''s row, by column name: as it is in contacts, or as it was just before the hard delete in the source''s order, from all facts that have arrived by now. NULL where there is none before it. contact_audit_log.last_known is what was known when the delete was applied.';

COMMENT ON COLUMN public.deleted_contacts.restored_at IS 'Of a soft deletion: when the contact came back out of the recycle bin; NULL where it did not.';

COMMENT ON COLUMN public.deleted_contacts.hard_deleted_at IS 'When the contact was hard-deleted; NULL where it was not.';

COMMENT ON COLUMN public.deleted_contacts.event IS 'SuperOffice''s name of the event that says so.';

COMMENT ON COLUMN public.deleted_contacts.event_id IS 'Its EventId.';

COMMENT ON COLUMN public.deleted_contacts.event_seq IS 'It in webhook_events; NULL where the fact did not come by webhook.';

COMMENT ON COLUMN public.deleted_contacts.audit_seq IS 'It in contact_audit_log.';

COMMENT ON COLUMN public.deleted_contacts.origin IS 'Where the fact came from: webhook, backfill, fetch or reconcile.';

COMMENT ON COLUMN public.deleted_contacts.occurred_at IS 'The same as deleted_at.';

COMMENT ON COLUMN public.deleted_contacts.occurred_ticks IS 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';

COMMENT ON COLUMN public.deleted_contacts.event_rank IS 'Order of the event''s kind among events of the same instant.';

CREATE TABLE public.duplicate_deliveries (
    duplicate_seq bigint NOT NULL,
    event_seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    retry integer,
    body_sha256 bytea NOT NULL,
    CONSTRAINT duplicate_deliveries_body_sha256 CHECK ((octet_length(body_sha256) = ANY (ARRAY[0, 32])))
)
WITH (autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='500000', autovacuum_freeze_min_age='0');
ALTER TABLE ONLY public.duplicate_deliveries ALTER COLUMN body_sha256 SET STATISTICS 0;

COMMENT ON TABLE public.duplicate_deliveries IS 'One row for each delivery of an event that had been accepted already.';

COMMENT ON COLUMN public.duplicate_deliveries.duplicate_seq IS 'Key.';

COMMENT ON COLUMN public.duplicate_deliveries.event_seq IS 'The event in webhook_events.';

COMMENT ON COLUMN public.duplicate_deliveries.received_at IS 'When this delivery arrived, by the receiver''s clock.';

COMMENT ON COLUMN public.duplicate_deliveries.retry IS 'The X-SuperOffice-Retry header, 0 where absent, NULL where it is no number, or of a delivery that was retried from quarantine.';

COMMENT ON COLUMN public.duplicate_deliveries.body_sha256 IS 'SHA-256 of this delivery''s body; differs from the stored body''s where the sender reused a key for other content. Empty where the contact has been erased.';

CREATE SEQUENCE public.duplicate_deliveries_duplicate_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.duplicate_deliveries_duplicate_seq_seq OWNED BY public.duplicate_deliveries.duplicate_seq;

CREATE TABLE public.quarantined_deliveries (
    quarantine_seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    context_identifier text,
    vouched_for text[],
    vouched_except text[],
    event_seq bigint,
    headers jsonb,
    signatures jsonb,
    verified boolean DEFAULT false NOT NULL,
    body bytea NOT NULL,
    body_sha256 bytea NOT NULL,
    deliveries integer DEFAULT 1 NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    resolved_at timestamp with time zone,
    resolution text,
    bytes_removed_at timestamp with time zone,
    CONSTRAINT quarantined_deliveries_attempts CHECK ((attempts > 0)),
    CONSTRAINT quarantined_deliveries_bytes_removed CHECK (((bytes_removed_at IS NULL) OR ((headers IS NULL) AND (signatures IS NULL)))),
    CONSTRAINT quarantined_deliveries_deliveries CHECK ((deliveries > 0)),
    CONSTRAINT quarantined_deliveries_resolution CHECK ((((resolution = ANY (ARRAY['retried'::text, 'discarded'::text])) AND (resolved_at IS NOT NULL)) OR ((resolution IS NULL) AND (resolved_at IS NULL)))),
    CONSTRAINT quarantined_deliveries_vouched CHECK (((vouched_for IS NULL) OR ((context_identifier IS NULL) AND (event_seq IS NULL) AND (cardinality(vouched_for) > 0)))),
    CONSTRAINT quarantined_deliveries_vouched_except CHECK (((vouched_except IS NOT NULL) = COALESCE((vouched_for @> '{*}'::text[]), false)))
);
ALTER TABLE ONLY public.quarantined_deliveries ALTER COLUMN reason SET STATISTICS 0;
ALTER TABLE ONLY public.quarantined_deliveries ALTER COLUMN headers SET STATISTICS 0;
ALTER TABLE ONLY public.quarantined_deliveries ALTER COLUMN body SET STATISTICS 0;
ALTER TABLE ONLY public.quarantined_deliveries ALTER COLUMN body_sha256 SET STATISTICS 0;

COMMENT ON TABLE public.quarantined_deliveries IS 'Deliveries that could not be understood, and accepted events that could not be applied, with the reason.';

COMMENT ON COLUMN public.quarantined_deliveries.quarantine_seq IS 'Key.';

COMMENT ON COLUMN public.quarantined_deliveries.received_at IS 'When the delivery first arrived, by the receiver''s clock.';

COMMENT ON COLUMN public.quarantined_deliveries.reason IS 'Why it could not be accepted or applied.';

COMMENT ON COLUMN public.quarantined_deliveries.context_identifier IS 'The tenant, where it could be read.';

COMMENT ON COLUMN public.quarantined_deliveries.vouched_for IS 'Of a delivery whose tenant can''t be read: the tenants with a secret of their own that gives its signature; * for the tenants without one. NULL where the tenant is known, or the secret is not: then it may be any tenant''s.';

COMMENT ON COLUMN public.quarantined_deliveries.vouched_except IS 'Where vouched_for holds *: the tenants that had secrets of their own when the delivery came.';

COMMENT ON COLUMN public.quarantined_deliveries.event_seq IS 'The event in webhook_events; NULL where the delivery never became one.';

COMMENT ON COLUMN public.quarantined_deliveries.headers IS 'The first request''s headers, credentials masked; of a delivery that the database refused as an event, its signature.';

COMMENT ON COLUMN public.quarantined_deliveries.signatures IS 'Of a delivery that never became an event: every signature that the same bytes were delivered with, with the time when it first came; an empty one for a delivery without. A retry verifies them again.';

COMMENT ON COLUMN public.quarantined_deliveries.verified IS 'Whether one of the signatures was verified under context_identifier when it came. Of a redacted entry this is all that is left of them.';

COMMENT ON COLUMN public.quarantined_deliveries.body IS 'The request body, byte for byte; or the redacted body of an event of an erased contact.';

COMMENT ON COLUMN public.quarantined_deliveries.body_sha256 IS 'SHA-256 of the body, so that the same bytes are counted in one entry. Once the body was removed, or redacted: random bytes, or of an erased contact a hash of what the entry keeps.';

COMMENT ON COLUMN public.quarantined_deliveries.deliveries IS 'How often the same bytes were delivered.';

COMMENT ON COLUMN public.quarantined_deliveries.attempts IS 'How often accepting or applying it was tried.';

COMMENT ON COLUMN public.quarantined_deliveries.resolved_at IS 'When an operator resolved it; NULL while open.';

COMMENT ON COLUMN public.quarantined_deliveries.resolution IS 'retried (put back to be applied) or discarded; NULL while open.';

COMMENT ON COLUMN public.quarantined_deliveries.bytes_removed_at IS 'When headers, signatures, hash and body were removed, by retention or by erasure; NULL while they are kept. An erasure leaves a redacted body, one without values, where an event can still be applied.';

CREATE TABLE public.sealed_accounts (
    context_identifier text NOT NULL,
    newest_event_seq bigint,
    mirrored_since timestamp with time zone,
    newest_received_at timestamp with time zone,
    newest_occurred_at timestamp with time zone,
    accepted bigint NOT NULL,
    ignored bigint NOT NULL,
    applied bigint NOT NULL,
    no_op bigint NOT NULL,
    superseded bigint NOT NULL,
    after_delete bigint NOT NULL,
    CONSTRAINT sealed_accounts_counts CHECK (((accepted >= 0) AND (ignored >= 0) AND (applied >= 0) AND (no_op >= 0) AND (superseded >= 0) AND (after_delete >= 0)))
)
WITH (fillfactor='50');

COMMENT ON TABLE public.sealed_accounts IS 'What event_accounting counts, of the part of the logs up to accounting_seal.';

COMMENT ON COLUMN public.sealed_accounts.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.sealed_accounts.newest_event_seq IS 'The tenant''s newest event there.';

COMMENT ON COLUMN public.sealed_accounts.mirrored_since IS 'When the first of the tenant''s contact events there was received; NULL if there is none, as in the next two columns.';

COMMENT ON COLUMN public.sealed_accounts.newest_received_at IS 'When the last of them was received.';

COMMENT ON COLUMN public.sealed_accounts.newest_occurred_at IS 'The greatest of their Timestamps.';

COMMENT ON COLUMN public.sealed_accounts.accepted IS 'Rows of webhook_events.';

COMMENT ON COLUMN public.sealed_accounts.ignored IS 'Of those, the ignored ones.';

COMMENT ON COLUMN public.sealed_accounts.applied IS 'Rows of contact_audit_log that came by webhook, with this outcome.';

COMMENT ON COLUMN public.sealed_accounts.no_op IS 'Likewise.';

COMMENT ON COLUMN public.sealed_accounts.superseded IS 'Likewise.';

COMMENT ON COLUMN public.sealed_accounts.after_delete IS 'Likewise.';

CREATE TABLE public.sync_queue (
    shard smallint NOT NULL,
    context_identifier text NOT NULL,
    event_seq bigint NOT NULL,
    written_by xid8 DEFAULT pg_current_xact_id() NOT NULL,
    received_at timestamp with time zone NOT NULL,
    body_bytes integer NOT NULL,
    CONSTRAINT sync_queue_body_bytes CHECK ((body_bytes >= 0)),
    CONSTRAINT sync_queue_shard CHECK (((shard >= 0) AND (shard <= 31)))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE public.sync_queue IS 'Accepted contact events that are still to be applied.';

COMMENT ON COLUMN public.sync_queue.shard IS 'The shard of the event''s contact.';

COMMENT ON COLUMN public.sync_queue.context_identifier IS 'The tenant, so that a claim can share its batch among those that wait.';

COMMENT ON COLUMN public.sync_queue.event_seq IS 'The event in webhook_events.';

COMMENT ON COLUMN public.sync_queue.written_by IS 'The transaction that queued the event, whose number was assigned before event_seq was drawn.';

COMMENT ON COLUMN public.sync_queue.received_at IS 'When the event arrived, as in webhook_events.';

COMMENT ON COLUMN public.sync_queue.body_bytes IS 'Length of the event''s body.';

CREATE VIEW public.event_accounting AS
 WITH queued AS (
         SELECT sync_queue.context_identifier,
            count(*) AS queued
           FROM public.sync_queue
          GROUP BY sync_queue.context_identifier
        ), quarantined AS (
         SELECT quarantined_deliveries.context_identifier,
            count(*) AS quarantined
           FROM public.quarantined_deliveries
          WHERE ((quarantined_deliveries.event_seq IS NOT NULL) AND (quarantined_deliveries.resolution IS DISTINCT FROM 'retried'::text))
          GROUP BY quarantined_deliveries.context_identifier
        ), part AS (
         SELECT sealed_accounts.context_identifier,
            sealed_accounts.accepted,
            sealed_accounts.ignored,
            0 AS queued,
            0 AS quarantined,
            sealed_accounts.applied,
            sealed_accounts.no_op,
            sealed_accounts.superseded,
            sealed_accounts.after_delete
           FROM public.sealed_accounts
          WHERE (((((sealed_accounts.accepted + sealed_accounts.applied) + sealed_accounts.no_op) + sealed_accounts.superseded) + sealed_accounts.after_delete) > 0)
        UNION ALL
         SELECT contactmirror_unsealed_events.context_identifier,
            contactmirror_unsealed_events.accepted,
            contactmirror_unsealed_events.ignored,
            0,
            0,
            0,
            0,
            0,
            0
           FROM public.contactmirror_unsealed_events() contactmirror_unsealed_events(context_identifier, accepted, ignored, mirrored_since, newest_received_at, newest_occurred_at)
        UNION ALL
         SELECT queued.context_identifier,
            0,
            0,
            queued.queued,
            0,
            0,
            0,
            0,
            0
           FROM queued
        UNION ALL
         SELECT quarantined.context_identifier,
            0,
            0,
            0,
            quarantined.quarantined,
            0,
            0,
            0,
            0
           FROM quarantined
        UNION ALL
         SELECT contactmirror_unsealed_outcomes.context_identifier,
            0,
            0,
            0,
            0,
            contactmirror_unsealed_outcomes.applied,
            contactmirror_unsealed_outcomes.no_op,
            contactmirror_unsealed_outcomes.superseded,
            contactmirror_unsealed_outcomes.after_delete
           FROM public.contactmirror_unsealed_outcomes() contactmirror_unsealed_outcomes(context_identifier, applied, no_op, superseded, after_delete)
        ), account AS (
         SELECT part.context_identifier,
            (sum(part.accepted))::bigint AS accepted,
            (sum(part.ignored))::bigint AS ignored,
            (sum(part.queued))::bigint AS queued,
            (sum(part.quarantined))::bigint AS quarantined,
            (sum(part.applied))::bigint AS applied,
            (sum(part.no_op))::bigint AS no_op,
            (sum(part.superseded))::bigint AS superseded,
            (sum(part.after_delete))::bigint AS after_delete
           FROM part
          GROUP BY part.context_identifier
        )
 SELECT account.context_identifier,
    account.accepted,
    account.ignored,
    account.queued,
    account.quarantined,
    account.applied,
    account.no_op,
    account.superseded,
    account.after_delete,
    (account.accepted = ((((((account.ignored + account.queued) + account.quarantined) + account.applied) + account.no_op) + account.superseded) + account.after_delete)) AS balanced
   FROM account;

COMMENT ON VIEW public.event_accounting IS 'One row for each tenant: every accepted event has exactly one outcome, so accepted is the sum of the columns after it.';

CREATE TABLE public.freshness (
    id smallint NOT NULL,
    database_identity text NOT NULL,
    complete_through timestamp with time zone,
    last_heartbeat_at timestamp with time zone,
    waits_for text,
    advanced_at timestamp with time zone,
    CONSTRAINT freshness_one_row CHECK ((id = 1))
)
WITH (fillfactor='50');

COMMENT ON TABLE public.freshness IS 'At most one row: up to when the mirror is complete, for tenants that tenant_freshness does not name.';

COMMENT ON COLUMN public.freshness.id IS 'Always 1.';

COMMENT ON COLUMN public.freshness.database_identity IS 'The database in which the row was written last: contactmirror_database_identity().';

COMMENT ON COLUMN public.freshness.complete_through IS 'Receipt time before which everything is applied that receivers were sent. It never goes back. NULL before the first heartbeat of a receiver.';

COMMENT ON COLUMN public.freshness.last_heartbeat_at IS 'The newest time that any receiver''s heartbeat allows, also of receivers that have stopped: complete_through stays there while no receiver runs.';

COMMENT ON COLUMN public.freshness.waits_for IS 'The transaction that keeps complete_through from advancing, because it writes events and has not ended; NULL if there is none.';

COMMENT ON COLUMN public.freshness.advanced_at IS 'When complete_through was last brought up to date, by the database''s clock.';

CREATE TABLE public.processes (
    process uuid NOT NULL,
    database_identity text DEFAULT public.contactmirror_database_identity() NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    roles text[] NOT NULL,
    version text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    heartbeat_at timestamp with time zone NOT NULL,
    observed_at timestamp with time zone NOT NULL,
    accepted_at timestamp with time zone,
    refused bigint DEFAULT 0 NOT NULL,
    refused_since timestamp with time zone,
    spooling_since timestamp with time zone,
    spool_records bigint DEFAULT 0 NOT NULL,
    spool_bytes bigint DEFAULT 0 NOT NULL,
    spool_oldest_at timestamp with time zone,
    spool_moved_aside_files integer DEFAULT 0 NOT NULL,
    spool_moved_aside_oldest_at timestamp with time zone,
    spool_error text,
    spool_failing_since timestamp with time zone,
    applied_at timestamp with time zone,
    apply_error text,
    apply_failing_since timestamp with time zone,
    horizon_advanced_at timestamp with time zone,
    horizon_error text,
    horizon_failing_since timestamp with time zone,
    CONSTRAINT processes_apply_error CHECK (((apply_error IS NULL) = (apply_failing_since IS NULL))),
    CONSTRAINT processes_horizon_error CHECK (((horizon_error IS NULL) = (horizon_failing_since IS NULL))),
    CONSTRAINT processes_pid CHECK ((pid > 0)),
    CONSTRAINT processes_refused CHECK (((refused >= 0) AND ((refused = 0) = (refused_since IS NULL)))),
    CONSTRAINT processes_roles CHECK (((cardinality(roles) > 0) AND (roles <@ '{receive,sync,admin}'::text[]))),
    CONSTRAINT processes_spool_bytes CHECK ((spool_bytes >= 0)),
    CONSTRAINT processes_spool_error CHECK (((spool_error IS NULL) = (spool_failing_since IS NULL))),
    CONSTRAINT processes_spool_moved_aside CHECK (((spool_moved_aside_files >= 0) AND ((spool_moved_aside_files = 0) = (spool_moved_aside_oldest_at IS NULL)))),
    CONSTRAINT processes_spool_records CHECK ((spool_records >= 0))
)
WITH (fillfactor='50');

COMMENT ON TABLE public.processes IS 'One row for each running serve process, written about every 5 seconds. A process that stops in order removes its row, unless its spool still holds deliveries; after a crash the row stays.';

COMMENT ON COLUMN public.processes.process IS 'Identity of the process. With the role receive it is that of the data directory, so that a process that takes over the directory and its spool keeps the row; otherwise each start has its own.';

COMMENT ON COLUMN public.processes.database_identity IS 'The database in which the row was written: contactmirror_database_identity(). A row with another one came with a restored dump: it holds nothing and counts for nothing, until the process writes it again.';

COMMENT ON COLUMN public.processes.host IS 'Name of the machine or container.';

COMMENT ON COLUMN public.processes.pid IS 'Process id there.';

COMMENT ON COLUMN public.processes.roles IS 'What the process does: receive, sync, admin.';

COMMENT ON COLUMN public.processes.version IS 'The build.';

COMMENT ON COLUMN public.processes.started_at IS 'When the process started, by its own clock, as are all times here but heartbeat_at.';

COMMENT ON COLUMN public.processes.heartbeat_at IS 'When the row was last written, by the database''s clock.';

COMMENT ON COLUMN public.processes.observed_at IS 'When the process read the state that the row describes.';

COMMENT ON COLUMN public.processes.accepted_at IS 'When a delivery was last answered 200; NULL if none was since the start.';

COMMENT ON COLUMN public.processes.refused IS 'Deliveries with a well-formed signature that were refused since refused_since.';

COMMENT ON COLUMN public.processes.refused_since IS 'Since when no well-formed signature has matched a valid secret; NULL if the last one did. The secret is wrong, or a stranger makes up signatures.';

COMMENT ON COLUMN public.processes.spooling_since IS 'Since when new deliveries go to the spool because the database does not take them; NULL while it does.';

COMMENT ON COLUMN public.processes.spool_records IS 'Deliveries that were answered 200 and are only in the spool, waiting for the database.';

COMMENT ON COLUMN public.processes.spool_bytes IS 'Their size on disk.';

COMMENT ON COLUMN public.processes.spool_oldest_at IS 'When the oldest of them was received; NULL if there is none. With spool_error, the earliest time at which a delivery may have been received that the spool holds.';

COMMENT ON COLUMN public.processes.spool_moved_aside_files IS 'Spool files that were moved aside: they hold deliveries that were answered 200 and can''t be drained. contactmirror spool list, on the process''s machine, names them.';

COMMENT ON COLUMN public.processes.spool_moved_aside_oldest_at IS 'Earliest time at which a delivery in these files may have been received; NULL if there is none.';

COMMENT ON COLUMN public.processes.spool_error IS 'Why the process can''t open its spool; NULL if it could. What the spool holds is not known then: spool_records, spool_bytes and the columns on files moved aside keep what the last process that could open it wrote.';

COMMENT ON COLUMN public.processes.spool_failing_since IS 'Since when it can''t.';

COMMENT ON COLUMN public.processes.applied_at IS 'When a batch of queued events was last committed; NULL if none was since the start.';

COMMENT ON COLUMN public.processes.apply_error IS 'Why batches fail; NULL while they succeed.';

COMMENT ON COLUMN public.processes.apply_failing_since IS 'Since when batches fail.';

COMMENT ON COLUMN public.processes.horizon_advanced_at IS 'When the process last advanced the log horizon, or found it at the end of both logs; NULL if it has not since the start. One process at a time advances it.';

COMMENT ON COLUMN public.processes.horizon_error IS 'Why the last attempt to advance the log horizon, or the counts up to it, failed; NULL if it did not. The change feed may be waiting.';

COMMENT ON COLUMN public.processes.horizon_failing_since IS 'Since when attempts fail.';

CREATE VIEW public.mirror_waiting AS
 SELECT sync_queue.context_identifier,
    'queue'::text AS place,
        CASE sync_queue.context_identifier
            WHEN ''::text THEN '""'::text
            ELSE sync_queue.context_identifier
        END AS name,
    min(sync_queue.received_at) AS since,
    NULL::uuid AS process,
    true AS delayed,
    NULL::text[] AS vouched_for,
    NULL::text[] AS vouched_except
   FROM public.sync_queue
  GROUP BY sync_queue.context_identifier
UNION ALL
 SELECT quarantined_deliveries.context_identifier,
    'quarantine'::text AS place,
    (quarantined_deliveries.quarantine_seq)::text AS name,
    quarantined_deliveries.received_at AS since,
    NULL::uuid AS process,
    true AS delayed,
    quarantined_deliveries.vouched_for,
    quarantined_deliveries.vouched_except
   FROM public.quarantined_deliveries
  WHERE (quarantined_deliveries.resolved_at IS NULL)
UNION ALL
 SELECT NULL::text AS context_identifier,
    'spool'::text AS place,
    format('%s:%s %s'::text, processes.host, processes.pid, processes.process) AS name,
    LEAST(COALESCE(processes.spool_oldest_at,
        CASE
            WHEN ((processes.spool_records > 0) OR (processes.spool_error IS NOT NULL)) THEN (processes.observed_at - '00:00:02'::interval)
            ELSE NULL::timestamp with time zone
        END), processes.spool_moved_aside_oldest_at) AS since,
    processes.process,
    true AS delayed,
    NULL::text[] AS vouched_for,
    NULL::text[] AS vouched_except
   FROM public.processes
  WHERE (((processes.spool_oldest_at IS NOT NULL) OR (processes.spool_records > 0) OR (processes.spool_moved_aside_files > 0) OR (processes.spool_error IS NOT NULL)) AND (processes.database_identity = ( SELECT public.contactmirror_database_identity() AS contactmirror_database_identity)))
UNION ALL
 SELECT NULL::text AS context_identifier,
    'receiver'::text AS place,
    format('%s:%s %s'::text, processes.host, processes.pid, processes.process) AS name,
    (processes.observed_at - '00:00:02'::interval) AS since,
    processes.process,
    (processes.heartbeat_at < (now() - '00:00:30'::interval)) AS delayed,
    NULL::text[] AS vouched_for,
    NULL::text[] AS vouched_except
   FROM public.processes
  WHERE (('receive'::text = ANY (processes.roles)) AND (processes.database_identity = ( SELECT public.contactmirror_database_identity() AS contactmirror_database_identity)));

COMMENT ON VIEW public.mirror_waiting IS 'What keeps the mirror from being complete: for each place where a delivery may wait, the receipt of the oldest that may not have been applied.';

COMMENT ON COLUMN public.mirror_waiting.context_identifier IS 'The tenant; NULL where it may be any, or one of vouched_for.';

COMMENT ON COLUMN public.mirror_waiting.place IS 'queue; quarantine: an open entry; spool: deliveries in the spool of a process, in files moved aside there, or in one that the process can''t open; receiver: a process with the role receive, whose deliveries are known up to its last heartbeat only.';

COMMENT ON COLUMN public.mirror_waiting.name IS 'The tenant of the queue; quarantine_seq; host, process id and identity of the process.';

COMMENT ON COLUMN public.mirror_waiting.since IS 'Receipt time from which on something may be missing.';

COMMENT ON COLUMN public.mirror_waiting.process IS 'The process, for spool and receiver.';

COMMENT ON COLUMN public.mirror_waiting.delayed IS 'False for a receiver with a heartbeat within the last 30 seconds.';

COMMENT ON COLUMN public.mirror_waiting.vouched_for IS 'As in quarantined_deliveries.';

COMMENT ON COLUMN public.mirror_waiting.vouched_except IS 'As in quarantined_deliveries.';

CREATE VIEW public.mirror_holding AS
 WITH heartbeat AS (
         SELECT count(*) AS receivers,
            COALESCE(max(mirror_waiting.since) FILTER (WHERE (NOT mirror_waiting.delayed)), ( SELECT freshness.last_heartbeat_at
                   FROM public.freshness
                  WHERE (freshness.id = 1)), 'infinity'::timestamp with time zone) AS newest
           FROM public.mirror_waiting
          WHERE (mirror_waiting.place = 'receiver'::text)
        )
 SELECT w.context_identifier,
    w.place,
    ((w.place || ' '::text) || w.name) AS holder,
    w.since,
    w.process,
    w.vouched_for,
    w.vouched_except
   FROM (public.mirror_waiting w
     CROSS JOIN heartbeat h)
  WHERE ((w.delayed AND ((w.place = 'receiver'::text) OR (w.since <= h.newest))) OR (w.since < (h.newest - '00:00:30'::interval)))
UNION ALL
 SELECT NULL::text AS context_identifier,
    'receiver'::text AS place,
    'receiver (none is running)'::text AS holder,
    h.newest AS since,
    NULL::uuid AS process,
    NULL::text[] AS vouched_for,
    NULL::text[] AS vouched_except
   FROM heartbeat h
  WHERE (h.receivers = 0)
UNION ALL
 SELECT NULL::text AS context_identifier,
    'transaction'::text AS place,
    ('transaction '::text || freshness.waits_for) AS holder,
    freshness.advanced_at AS since,
    NULL::uuid AS process,
    NULL::text[] AS vouched_for,
    NULL::text[] AS vouched_except
   FROM public.freshness
  WHERE (freshness.waits_for IS NOT NULL);

COMMENT ON VIEW public.mirror_holding IS 'What holds complete_through back beyond the ordinary lag of heartbeats.';

COMMENT ON COLUMN public.mirror_holding.context_identifier IS 'As in mirror_waiting.';

COMMENT ON COLUMN public.mirror_holding.place IS 'receiver, spool, queue, quarantine or transaction.';

COMMENT ON COLUMN public.mirror_holding.holder IS 'The place and its name.';

COMMENT ON COLUMN public.mirror_holding.since IS 'Receipt time from which on something may be missing.';

COMMENT ON COLUMN public.mirror_holding.process IS 'The process, for spool and receiver.';

COMMENT ON COLUMN public.mirror_holding.vouched_for IS 'As in quarantined_deliveries.';

COMMENT ON COLUMN public.mirror_holding.vouched_except IS 'As in quarantined_deliveries.';

CREATE TABLE public.tenant_freshness (
    context_identifier text NOT NULL,
    complete_through timestamp with time zone,
    late_deliveries bigint DEFAULT 0 NOT NULL,
    CONSTRAINT tenant_freshness_late_deliveries CHECK ((late_deliveries >= 0))
)
WITH (fillfactor='50');

COMMENT ON TABLE public.tenant_freshness IS 'Tenants for which complete_through is not the one in freshness, and those with late deliveries.';

COMMENT ON COLUMN public.tenant_freshness.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.tenant_freshness.complete_through IS 'As in freshness; NULL if it is the same.';

COMMENT ON COLUMN public.tenant_freshness.late_deliveries IS 'Events that were stored when complete_through had passed their receipt: a receiver that had not reached the database since its start accepted them while another one ran, or its clock is behind.';

CREATE VIEW public.mirror_freshness AS
 WITH holding AS MATERIALIZED (
         SELECT mirror_holding.context_identifier,
            mirror_holding.place,
            mirror_holding.holder,
            mirror_holding.since,
            mirror_holding.process,
            mirror_holding.vouched_for,
            mirror_holding.vouched_except
           FROM public.mirror_holding
        ), heartbeat AS (
         SELECT count(*) AS receivers_alive
           FROM public.mirror_waiting
          WHERE ((mirror_waiting.place = 'receiver'::text) AND (NOT mirror_waiting.delayed))
        ), tenants AS (
         SELECT part.context_identifier,
            max(part.newest_received_at) AS newest_received_at,
            max(part.newest_occurred_at) AS newest_occurred_at,
            min(part.mirrored_since) AS mirrored_since
           FROM ( SELECT sealed_accounts.context_identifier,
                    sealed_accounts.newest_received_at,
                    sealed_accounts.newest_occurred_at,
                    sealed_accounts.mirrored_since
                   FROM public.sealed_accounts
                UNION ALL
                 SELECT contactmirror_unsealed_events.context_identifier,
                    contactmirror_unsealed_events.newest_received_at,
                    contactmirror_unsealed_events.newest_occurred_at,
                    contactmirror_unsealed_events.mirrored_since
                   FROM public.contactmirror_unsealed_events() contactmirror_unsealed_events(context_identifier, accepted, ignored, mirrored_since, newest_received_at, newest_occurred_at)) part
          WHERE (part.mirrored_since IS NOT NULL)
          GROUP BY part.context_identifier
        )
 SELECT t.context_identifier,
    COALESCE(s.complete_through, f.complete_through) AS complete_through,
    COALESCE(w.held_by, '{}'::text[]) AS held_by,
    f.advanced_at AS as_of,
    h.receivers_alive,
    t.mirrored_since,
    t.newest_received_at,
    t.newest_occurred_at,
    COALESCE(q.backlog, (0)::bigint) AS backlog,
    q.oldest_queued_at,
    COALESCE((now() - q.oldest_queued_at), '00:00:00'::interval) AS lag,
    COALESCE(o.open_quarantine, (0)::bigint) AS open_quarantine,
    COALESCE(s.late_deliveries, (0)::bigint) AS late_deliveries
   FROM ((((((tenants t
     CROSS JOIN heartbeat h)
     LEFT JOIN public.freshness f ON ((f.id = 1)))
     LEFT JOIN public.tenant_freshness s USING (context_identifier))
     LEFT JOIN ( SELECT sync_queue.context_identifier,
            count(*) AS backlog,
            min(sync_queue.received_at) AS oldest_queued_at
           FROM public.sync_queue
          GROUP BY sync_queue.context_identifier) q USING (context_identifier))
     LEFT JOIN ( SELECT quarantined_deliveries.context_identifier,
            count(*) AS open_quarantine
           FROM public.quarantined_deliveries
          WHERE (quarantined_deliveries.resolved_at IS NULL)
          GROUP BY quarantined_deliveries.context_identifier) o USING (context_identifier))
     LEFT JOIN LATERAL ( SELECT array_agg(first.holder ORDER BY first.since, first.holder) AS held_by
           FROM ( SELECT DISTINCT ON (g.place, g.process) g.holder,
                    g.since
                   FROM holding g
                  WHERE ((g.context_identifier = t.context_identifier) OR ((g.context_identifier IS NULL) AND public.contactmirror_vouched(t.context_identifier, g.vouched_for, g.vouched_except)))
                  ORDER BY g.place, g.process, g.since, g.holder) first) w ON (true));

COMMENT ON VIEW public.mirror_freshness IS 'How fresh the mirror is, for each tenant of which a contact event was accepted. A report is final for everything received before complete_through.';

COMMENT ON COLUMN public.mirror_freshness.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.mirror_freshness.complete_through IS 'Receipt time before which everything is applied that the receivers of this mirror were sent. It never goes back in the life of one database. NULL before the first heartbeat of a receiver. A receiver without a recent heartbeat holds it back until its spool drains or contactmirror processes forget removes it; a spool file that was moved aside, until contactmirror spool retry or discard handles it.';

COMMENT ON COLUMN public.mirror_freshness.held_by IS 'What holds complete_through back beyond the ordinary lag of heartbeats, the oldest first: receiver, spool, queue, quarantine or transaction, and its name. Of the entries in quarantine only the oldest is named. An event that is late is named too, although complete_through has passed it.';

COMMENT ON COLUMN public.mirror_freshness.as_of IS 'When complete_through was last brought up to date: every running process tries to every 2 seconds.';

COMMENT ON COLUMN public.mirror_freshness.receivers_alive IS 'Processes with the role receive that had a heartbeat within the last 30 seconds.';

COMMENT ON COLUMN public.mirror_freshness.mirrored_since IS 'When the first contact event of the tenant was received.';

COMMENT ON COLUMN public.mirror_freshness.newest_received_at IS 'When the last contact event was received, by the receiver''s clock.';

COMMENT ON COLUMN public.mirror_freshness.newest_occurred_at IS 'The greatest Timestamp of a contact event.';

COMMENT ON COLUMN public.mirror_freshness.backlog IS 'Events that are still to be applied.';

COMMENT ON COLUMN public.mirror_freshness.oldest_queued_at IS 'When the oldest of them arrived; NULL where nothing waits.';

COMMENT ON COLUMN public.mirror_freshness.lag IS 'For how long it has waited.';

COMMENT ON COLUMN public.mirror_freshness.open_quarantine IS 'The tenant''s entries in quarantine that nobody has resolved.';

COMMENT ON COLUMN public.mirror_freshness.late_deliveries IS 'Events that were stored when complete_through had passed their receipt: a receiver that had not reached the database since its start accepted them while another one ran, or its clock is behind.';

CREATE TABLE public.operator_actions (
    action_seq bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    database_role text DEFAULT SESSION_USER NOT NULL,
    action text NOT NULL,
    context_identifier text,
    contact_id bigint,
    detail jsonb NOT NULL,
    CONSTRAINT operator_actions_action CHECK ((action = ANY (ARRAY['erase'::text, 'lift_erasure'::text, 'retry_quarantine'::text, 'discard_quarantine'::text, 'discard_spool'::text, 'prune'::text, 'rebuild'::text, 'replay'::text, 'forget_process'::text, 'grant'::text, 'publish'::text, 'adopt_audit'::text]))),
    CONSTRAINT operator_actions_actor CHECK ((actor <> ''::text)),
    CONSTRAINT operator_actions_contact CHECK (((contact_id IS NULL) OR (context_identifier IS NOT NULL))),
    CONSTRAINT operator_actions_detail CHECK ((jsonb_typeof(detail) = 'object'::text))
);

COMMENT ON TABLE public.operator_actions IS 'What operators did by command or page; append-only.';

COMMENT ON COLUMN public.operator_actions.action_seq IS 'Key.';

COMMENT ON COLUMN public.operator_actions.at IS 'When, by the database''s clock.';

COMMENT ON COLUMN public.operator_actions.actor IS 'Who: the user and host that ran the command.';

COMMENT ON COLUMN public.operator_actions.database_role IS 'The database role that the command was logged in as.';

COMMENT ON COLUMN public.operator_actions.action IS 'What: erase, lift_erasure, retry_quarantine, discard_quarantine, discard_spool, prune, rebuild, replay, forget_process, grant, publish or adopt_audit.';

COMMENT ON COLUMN public.operator_actions.context_identifier IS 'The tenant concerned; NULL where it is not one tenant, or not known.';

COMMENT ON COLUMN public.operator_actions.contact_id IS 'The contact concerned; NULL where it is not one contact, or not known.';

COMMENT ON COLUMN public.operator_actions.detail IS 'What was asked for and what came of it; its keys depend on the action. Never holds values of contacts.';

CREATE SEQUENCE public.operator_actions_action_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.operator_actions_action_seq_seq OWNED BY public.operator_actions.action_seq;

COMMENT ON SEQUENCE public.operator_actions_action_seq_seq IS 'Numbers operator_actions.action_seq.';

CREATE VIEW public.pending_contacts AS
 SELECT c.context_identifier,
    c.contact_id,
    c.name,
    c.department,
    p.stale_columns,
    p.unknown_columns,
    c.soft_deleted,
    c.last_event_at,
    c.last_changed_by_associate_id
   FROM ((public.contacts c
     JOIN ( SELECT a.context_identifier,
            a.contact_id,
            bit_or(a.given_columns) AS columns
           FROM public.contact_audit_log a
          WHERE (a.outcome IS NOT NULL)
          GROUP BY a.context_identifier, a.contact_id) given ON (((given.context_identifier = c.context_identifier) AND (given.contact_id = c.contact_id))))
     CROSS JOIN LATERAL ( SELECT COALESCE(array_agg(n.column_name ORDER BY n.place) FILTER (WHERE (n.column_name = ANY (g.names))), '{}'::text[]) AS stale_columns,
            COALESCE(array_agg(n.column_name ORDER BY n.place) FILTER (WHERE (n.column_name <> ALL (g.names))), '{}'::text[]) AS unknown_columns
           FROM (( SELECT public.contactmirror_given(given.columns) AS names) g
             CROSS JOIN unnest(c.pending_columns) WITH ORDINALITY n(column_name, place))) p)
  WHERE ((c.pending_columns <> '{}'::text[]) AND (((given.columns & (~ public.contactmirror_sent())) <> 0) OR (c.pending_columns <> ARRAY['name'::text, 'kananame'::text, 'department'::text, 'number1'::text, 'number2'::text, 'org_nr'::text, 'sound_ex'::text, 'dbi_key'::text, 'updated_associate_id'::text, 'text_id'::text, 'mother_id'::text, 'group_id'::text, 'tz_location_id'::text, 'ticket_priority_id'::text, 'support_language_id'::text, 'support_associate_id'::text, 'support_person_id'::text, 'dbi_agent_id'::text, 'updated_count'::text, 'active_erp_links'::text, 'xstop'::text, 'nomailing'::text, 'dbi_last_syncronized'::text, 'dbi_last_modified'::text])) AND (c.pending_columns && public.contactmirror_given(given.columns)));

COMMENT ON VIEW public.pending_contacts IS 'Contacts with a stale column: one that an event named, or gave a value that can''t be read, since the value in contacts was given.';

COMMENT ON COLUMN public.pending_contacts.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.pending_contacts.contact_id IS 'The contact.';

COMMENT ON COLUMN public.pending_contacts.name IS 'Its name, as far as known.';

COMMENT ON COLUMN public.pending_contacts.department IS 'Its department, as far as known.';

COMMENT ON COLUMN public.pending_contacts.stale_columns IS 'The stale columns: contacts has an older value, which may be NULL.';

COMMENT ON COLUMN public.pending_contacts.unknown_columns IS 'Columns of which no value was ever known, or none since the contact was erased.';

COMMENT ON COLUMN public.pending_contacts.soft_deleted IS 'In SuperOffice''s recycle bin.';

COMMENT ON COLUMN public.pending_contacts.last_event_at IS 'Timestamp of the newest event.';

COMMENT ON COLUMN public.pending_contacts.last_changed_by_associate_id IS 'Who caused it; NULL where it does not say.';

CREATE TABLE public.process_secrets (
    process uuid NOT NULL,
    context_identifier text NOT NULL,
    ordinal integer NOT NULL,
    not_before timestamp with time zone,
    not_after timestamp with time zone,
    matched_at timestamp with time zone,
    refused_since timestamp with time zone,
    CONSTRAINT process_secrets_ordinal CHECK ((ordinal > 0)),
    CONSTRAINT process_secrets_validity CHECK ((not_before <= not_after))
);

COMMENT ON TABLE public.process_secrets IS 'The webhook secrets that each process verifies deliveries with, by their position: nothing that is computed from a secret is stored.';

COMMENT ON COLUMN public.process_secrets.process IS 'The process.';

COMMENT ON COLUMN public.process_secrets.context_identifier IS 'The tenant; * for a secret of every tenant that has none of its own.';

COMMENT ON COLUMN public.process_secrets.ordinal IS 'Position in the tenant''s list, from 1; in the list of * those of CONTACTMIRROR_SECRET are first.';

COMMENT ON COLUMN public.process_secrets.not_before IS 'First instant at which the secret is valid; NULL for no limit.';

COMMENT ON COLUMN public.process_secrets.not_after IS 'Last instant at which the secret is valid; NULL for no limit.';

COMMENT ON COLUMN public.process_secrets.matched_at IS 'When it last verified a delivery; NULL if it has not since the start.';

COMMENT ON COLUMN public.process_secrets.refused_since IS 'Since when no well-formed signature of a delivery that names a tenant of this list has matched, the same for the whole list; NULL if the last one did.';

CREATE SEQUENCE public.quarantined_deliveries_quarantine_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.quarantined_deliveries_quarantine_seq_seq OWNED BY public.quarantined_deliveries.quarantine_seq;

CREATE VIEW public.restorable_contacts AS
 SELECT c.context_identifier,
    c.contact_id,
    c.name,
    c.department,
    c.soft_deleted_at,
    (c.soft_deleted_at + '336:00:00'::interval) AS expires_at,
    (LEAST((14)::numeric, GREATEST((0)::numeric, (ceil((EXTRACT(epoch FROM ((c.soft_deleted_at + '336:00:00'::interval) - now())) / (8640)::numeric)) / (10)::numeric))))::numeric(3,1) AS days_left,
    c.last_changed_by_associate_id,
    c.pending_columns
   FROM public.contacts c
  WHERE c.soft_deleted;

COMMENT ON VIEW public.restorable_contacts IS 'Contacts in the recycle bin, from which SuperOffice can restore them. It empties the bin after 14 days, unless its preference SoftDeleteRetention says otherwise.';

COMMENT ON COLUMN public.restorable_contacts.context_identifier IS 'SuperOffice''s ContextIdentifier, the tenant.';

COMMENT ON COLUMN public.restorable_contacts.contact_id IS 'The contact.';

COMMENT ON COLUMN public.restorable_contacts.name IS 'Its name, as far as known.';

COMMENT ON COLUMN public.restorable_contacts.department IS 'Its department, as far as known.';

COMMENT ON COLUMN public.restorable_contacts.soft_deleted_at IS 'Since when in the recycle bin.';

COMMENT ON COLUMN public.restorable_contacts.expires_at IS '14 times 24 hours after soft_deleted_at.';

COMMENT ON COLUMN public.restorable_contacts.days_left IS 'Days until expires_at, rounded up to a tenth of 24 hours; at most 14. 0 once it has passed: then SuperOffice has not said yet that it deleted the contact.';

COMMENT ON COLUMN public.restorable_contacts.last_changed_by_associate_id IS 'Who caused the newest event; NULL where it does not say.';

COMMENT ON COLUMN public.restorable_contacts.pending_columns IS 'Columns whose current value is not known here.';

CREATE TABLE public.schema_roles (
    role_name text NOT NULL,
    kind text NOT NULL,
    CONSTRAINT schema_roles_kind CHECK ((kind = ANY (ARRAY['service'::text, 'reporting'::text])))
);

COMMENT ON TABLE public.schema_roles IS 'Roles that contactmirror migrate grants let in, so that later migrations keep them working.';

COMMENT ON COLUMN public.schema_roles.role_name IS 'The role.';

COMMENT ON COLUMN public.schema_roles.kind IS 'service: what serve and its sister commands need; reporting: tables and views, but no bodies, quarantine and secrets.';

CREATE TABLE public.webhook_bodies_contact (
    event_seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    ignored boolean NOT NULL,
    body bytea NOT NULL
)
PARTITION BY RANGE (received_at);
ALTER TABLE ONLY public.webhook_bodies_contact ALTER COLUMN body SET STATISTICS 0;

COMMENT ON TABLE public.webhook_bodies_contact IS 'The bodies of contact events.';

COMMENT ON COLUMN public.webhook_bodies_contact.event_seq IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_contact.received_at IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_contact.ignored IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_contact.body IS 'As in webhook_bodies.';

CREATE TABLE public.webhook_bodies_contact_default (
    event_seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    ignored boolean NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE ONLY public.webhook_bodies_contact_default ALTER COLUMN body SET STATISTICS 0;

COMMENT ON TABLE public.webhook_bodies_contact_default IS 'Bodies of contact events whose day had no partition when they came. Nearly empty as a rule: it is read through whenever a partition is made.';

COMMENT ON COLUMN public.webhook_bodies_contact_default.event_seq IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_contact_default.received_at IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_contact_default.ignored IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_contact_default.body IS 'As in webhook_bodies.';

CREATE TABLE public.webhook_bodies_ignored (
    event_seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    ignored boolean NOT NULL,
    body bytea NOT NULL
)
PARTITION BY RANGE (received_at);
ALTER TABLE ONLY public.webhook_bodies_ignored ALTER COLUMN body SET STATISTICS 0;

COMMENT ON TABLE public.webhook_bodies_ignored IS 'The bodies of ignored events.';

COMMENT ON COLUMN public.webhook_bodies_ignored.event_seq IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_ignored.received_at IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_ignored.ignored IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_ignored.body IS 'As in webhook_bodies.';

CREATE TABLE public.webhook_bodies_ignored_default (
    event_seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    ignored boolean NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE ONLY public.webhook_bodies_ignored_default ALTER COLUMN body SET STATISTICS 0;

COMMENT ON TABLE public.webhook_bodies_ignored_default IS 'Bodies of ignored events whose day had no partition when they came. Nearly empty as a rule: it is read through whenever a partition is made.';

COMMENT ON COLUMN public.webhook_bodies_ignored_default.event_seq IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_ignored_default.received_at IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_ignored_default.ignored IS 'As in webhook_bodies.';

COMMENT ON COLUMN public.webhook_bodies_ignored_default.body IS 'As in webhook_bodies.';

CREATE SEQUENCE public.webhook_events_event_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.webhook_events_event_seq_seq OWNED BY public.webhook_events.event_seq;

ALTER TABLE ONLY public.webhook_bodies ATTACH PARTITION public.webhook_bodies_contact FOR VALUES IN (false);

ALTER TABLE ONLY public.webhook_bodies_contact ATTACH PARTITION public.webhook_bodies_contact_default DEFAULT;

ALTER TABLE ONLY public.webhook_bodies ATTACH PARTITION public.webhook_bodies_ignored FOR VALUES IN (true);

ALTER TABLE ONLY public.webhook_bodies_ignored ATTACH PARTITION public.webhook_bodies_ignored_default DEFAULT;

ALTER TABLE ONLY public.contact_audit_log ALTER COLUMN audit_seq SET DEFAULT nextval('public.contact_audit_log_audit_seq_seq'::regclass);

ALTER TABLE ONLY public.duplicate_deliveries ALTER COLUMN duplicate_seq SET DEFAULT nextval('public.duplicate_deliveries_duplicate_seq_seq'::regclass);

ALTER TABLE ONLY public.operator_actions ALTER COLUMN action_seq SET DEFAULT nextval('public.operator_actions_action_seq_seq'::regclass);

ALTER TABLE ONLY public.quarantined_deliveries ALTER COLUMN quarantine_seq SET DEFAULT nextval('public.quarantined_deliveries_quarantine_seq_seq'::regclass);

ALTER TABLE ONLY public.webhook_events ALTER COLUMN event_seq SET DEFAULT nextval('public.webhook_events_event_seq_seq'::regclass);

ALTER TABLE ONLY public.accounting_seal
    ADD CONSTRAINT accounting_seal_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.audit_adoptions
    ADD CONSTRAINT audit_adoptions_pkey PRIMARY KEY (shard, ordinal);

ALTER TABLE ONLY public.contact_audit_log
    ADD CONSTRAINT contact_audit_log_pkey PRIMARY KEY (audit_seq);

ALTER TABLE ONLY public.contact_tombstones
    ADD CONSTRAINT contact_tombstones_pkey PRIMARY KEY (context_identifier, contact_id);

ALTER TABLE ONLY public.contacts
    ADD CONSTRAINT contacts_pkey PRIMARY KEY (context_identifier, contact_id);

ALTER TABLE ONLY public.duplicate_deliveries
    ADD CONSTRAINT duplicate_deliveries_pkey PRIMARY KEY (duplicate_seq);

ALTER TABLE ONLY public.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (audit_seq);

ALTER TABLE ONLY public.freshness
    ADD CONSTRAINT freshness_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.log_horizon
    ADD CONSTRAINT log_horizon_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.operator_actions
    ADD CONSTRAINT operator_actions_pkey PRIMARY KEY (action_seq);

ALTER TABLE ONLY public.process_secrets
    ADD CONSTRAINT process_secrets_pkey PRIMARY KEY (process, context_identifier, ordinal);

ALTER TABLE ONLY public.processes
    ADD CONSTRAINT processes_pkey PRIMARY KEY (process);

ALTER TABLE ONLY public.quarantined_deliveries
    ADD CONSTRAINT quarantined_deliveries_pkey PRIMARY KEY (quarantine_seq);

ALTER TABLE ONLY public.schema_roles
    ADD CONSTRAINT schema_roles_pkey PRIMARY KEY (role_name);

ALTER TABLE ONLY public.sealed_accounts
    ADD CONSTRAINT sealed_accounts_pkey PRIMARY KEY (context_identifier);

ALTER TABLE ONLY public.sync_queue
    ADD CONSTRAINT sync_queue_pkey PRIMARY KEY (shard, context_identifier, written_by, event_seq);

ALTER TABLE ONLY public.sync_shards
    ADD CONSTRAINT sync_shards_pkey PRIMARY KEY (shard);

ALTER TABLE ONLY public.tenant_freshness
    ADD CONSTRAINT tenant_freshness_pkey PRIMARY KEY (context_identifier);

ALTER TABLE ONLY public.webhook_bodies
    ADD CONSTRAINT webhook_bodies_pkey PRIMARY KEY (event_seq, received_at, ignored);

ALTER TABLE ONLY public.webhook_bodies_contact
    ADD CONSTRAINT webhook_bodies_contact_pkey PRIMARY KEY (event_seq, received_at, ignored);

ALTER TABLE ONLY public.webhook_bodies_contact_default
    ADD CONSTRAINT webhook_bodies_contact_default_pkey PRIMARY KEY (event_seq, received_at, ignored);

ALTER TABLE ONLY public.webhook_bodies_ignored
    ADD CONSTRAINT webhook_bodies_ignored_pkey PRIMARY KEY (event_seq, received_at, ignored);

ALTER TABLE ONLY public.webhook_bodies_ignored_default
    ADD CONSTRAINT webhook_bodies_ignored_default_pkey PRIMARY KEY (event_seq, received_at, ignored);

ALTER TABLE ONLY public.webhook_events
    ADD CONSTRAINT webhook_events_key UNIQUE (context_identifier, event_id, event, primary_key);

ALTER TABLE ONLY public.webhook_events
    ADD CONSTRAINT webhook_events_pkey PRIMARY KEY (event_seq);

COMMENT ON INDEX public.accounting_seal_pkey IS 'Keeps it one row.';

COMMENT ON INDEX public.audit_adoptions_pkey IS 'Keeps two adoptions of a shard apart.';

CREATE INDEX contact_audit_log_contact ON public.contact_audit_log USING btree (context_identifier, contact_id, occurred_ticks) INCLUDE (audit_seq, given_columns, soft_deleted, hard_deleted) WHERE (outcome IS NOT NULL);

COMMENT ON INDEX public.contact_audit_log_contact IS 'For audit_facts, refold_facts_of, contact_timeline, contact_changes, column_provenance, erasure and the as-of functions, which read the rows of some contacts, and for audit_tenants, which jumps from tenant to tenant.';

CREATE INDEX contact_audit_log_deletions ON public.contact_audit_log USING btree (context_identifier, occurred_at) WHERE (soft_deleted OR hard_deleted);

COMMENT ON INDEX public.contact_audit_log_deletions IS 'For deleted_contacts, which lists a tenant''s newest deletions or those of some time.';

CREATE UNIQUE INDEX contact_audit_log_event_seq ON public.contact_audit_log USING btree (event_seq);

COMMENT ON INDEX public.contact_audit_log_event_seq IS 'One row for each event. For verify_events, verify_lost and contactmirror_strip_events, which look rows up by event.';

CREATE INDEX contact_audit_log_irregular ON public.contact_audit_log USING btree (context_identifier, contact_id) WHERE irregular;

COMMENT ON INDEX public.contact_audit_log_irregular IS 'For contact_changes: whether a contact has an irregular row.';

CREATE INDEX contact_audit_log_occurred_at ON public.contact_audit_log USING brin (occurred_at timestamptz_minmax_multi_ops) WITH (pages_per_range='32', autosummarize='on');

COMMENT ON INDEX public.contact_audit_log_occurred_at IS 'For contact_timeline and reports on the log of some time, such as a day, which read a few ranges of pages.';

COMMENT ON INDEX public.contact_audit_log_pkey IS 'For changes_since, seal_accounts, verify_chain and the feed''s cursors, which read the log in the order of writing.';

CREATE INDEX contact_audit_log_recorded_at ON public.contact_audit_log USING brin (recorded_at timestamptz_minmax_multi_ops) WITH (pages_per_range='32', autosummarize='on');

COMMENT ON INDEX public.contact_audit_log_recorded_at IS 'For refold_facts (replay, rebuild --since) and contactmirror_known, which read what was written in some time.';

COMMENT ON INDEX public.contact_tombstones_pkey IS 'For every statement that reads or writes the tombstones of some contacts, and for the as-of functions.';

COMMENT ON INDEX public.contacts_pkey IS 'For every statement that reads or writes the rows of some contacts, and for the as-of functions, which read a tenant''s.';

CREATE INDEX contacts_recycle_bin ON public.contacts USING btree (context_identifier, soft_deleted_at) WHERE soft_deleted;

COMMENT ON INDEX public.contacts_recycle_bin IS 'For restorable_contacts, which lists a tenant''s recycle bin in the order of its expiry.';

CREATE INDEX duplicate_deliveries_event_seq ON public.duplicate_deliveries USING btree (event_seq);

COMMENT ON INDEX public.duplicate_deliveries_event_seq IS 'For contactmirror_strip_events and contactmirror_redact_event, which blank the hashes of an erased contact''s events.';

COMMENT ON INDEX public.duplicate_deliveries_pkey IS 'Keeps numbers unique; no statement reads by it.';

CREATE INDEX erasures_contact ON public.erasures USING btree (context_identifier, contact_id);

COMMENT ON INDEX public.erasures_contact IS 'For mirror_tombstones, contactmirror_is_erased and every other statement that asks whether values of a contact are erased.';

CREATE UNIQUE INDEX erasures_in_force ON public.erasures USING btree (context_identifier, contact_id) WHERE (lifted_at IS NULL);

COMMENT ON INDEX public.erasures_in_force IS 'One erasure in force for each contact. For erasure_in_force and contactmirror_lift_erasure.';

COMMENT ON INDEX public.erasures_pkey IS 'One entry for each erasure in the log; the table is small enough to be read as a whole.';

COMMENT ON INDEX public.freshness_pkey IS 'Keeps it one row.';

COMMENT ON INDEX public.log_horizon_pkey IS 'Keeps it one row.';

COMMENT ON INDEX public.operator_actions_pkey IS 'For auditors, who read it in the order of its rows.';

COMMENT ON INDEX public.process_secrets_pkey IS 'For process_heartbeat, which writes the secrets of one process.';

COMMENT ON INDEX public.processes_pkey IS 'For process_heartbeat, process_leave and process_forget.';

CREATE UNIQUE INDEX quarantined_deliveries_body ON public.quarantined_deliveries USING btree (body_sha256) WHERE (event_seq IS NULL);

COMMENT ON INDEX public.quarantined_deliveries_body IS 'For inbox_quarantine, which counts the same bytes again by a conflict on it.';

CREATE UNIQUE INDEX quarantined_deliveries_event ON public.quarantined_deliveries USING btree (event_seq) WHERE (event_seq IS NOT NULL);

COMMENT ON INDEX public.quarantined_deliveries_event IS 'For inbox_blame, which updates the entry on a conflict, and for mirror_unquarantine, erasure and retention, which look entries up by event.';

CREATE INDEX quarantined_deliveries_open ON public.quarantined_deliveries USING btree (quarantine_seq) WHERE (resolved_at IS NULL);

COMMENT ON INDEX public.quarantined_deliveries_open IS 'For quarantine_list, report_backlog, mirror_waiting and mirror_unquarantine, which read the open entries of a table that keeps all of them.';

COMMENT ON INDEX public.quarantined_deliveries_pkey IS 'For quarantine_show and every other statement about one entry, quarantine_list, and contactmirror_prune_quarantine, which goes through the entries in order.';

COMMENT ON INDEX public.schema_roles_pkey IS 'For migrate grants and migrate up.';

COMMENT ON INDEX public.sealed_accounts_pkey IS 'For seal_accounts, which adds to the counts of some tenants.';

COMMENT ON INDEX public.sync_queue_pkey IS 'For inbox_lock, inbox_waiting and inbox_claim.';

COMMENT ON INDEX public.sync_shards_pkey IS 'For the statements that lock or move the heads of some shards.';

COMMENT ON INDEX public.tenant_freshness_pkey IS 'For inbox_put, contactmirror_advance_freshness and mirror_freshness, which look up tenants.';

COMMENT ON INDEX public.webhook_bodies_pkey IS 'For inbox_bodies and every other statement that reads or removes the bodies of some events. It has the columns of the partition key because a unique index of a partitioned table must.';

CREATE INDEX webhook_events_ignored ON public.webhook_events USING btree (context_identifier, primary_key) WHERE ignored;

COMMENT ON INDEX public.webhook_events_ignored IS 'For contactmirror_erase: ignored events may be about the contact, and no audit row leads to them.';

COMMENT ON INDEX public.webhook_events_key IS 'The idempotency key: inbox_put ignores a conflict on it, and inbox_duplicate finds the event by it.';

CREATE UNIQUE INDEX webhook_events_keyless_sha256 ON public.webhook_events USING btree (keyless_sha256) WHERE (keyless_sha256 IS NOT NULL);

COMMENT ON INDEX public.webhook_events_keyless_sha256 IS 'The idempotency key of ignored events without the other one, for the same statements.';

COMMENT ON INDEX public.webhook_events_pkey IS 'For inbox_bodies, erasure and verify, which read events by number, and for seal_accounts, which counts them in order.';

ALTER INDEX public.webhook_bodies_contact_pkey ATTACH PARTITION public.webhook_bodies_contact_default_pkey;

ALTER INDEX public.webhook_bodies_pkey ATTACH PARTITION public.webhook_bodies_contact_pkey;

ALTER INDEX public.webhook_bodies_ignored_pkey ATTACH PARTITION public.webhook_bodies_ignored_default_pkey;

ALTER INDEX public.webhook_bodies_pkey ATTACH PARTITION public.webhook_bodies_ignored_pkey;

CREATE TRIGGER audit_adoptions_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_adoptions FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_append_only();

CREATE TRIGGER contact_audit_log_append_only BEFORE DELETE OR TRUNCATE ON public.contact_audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_append_only();

CREATE TRIGGER contact_audit_log_drawn AFTER INSERT ON public.contact_audit_log REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_require_drawn();

CREATE TRIGGER contact_audit_log_may_erase AFTER INSERT ON public.contact_audit_log FOR EACH ROW WHEN ((new.outcome IS NULL)) EXECUTE FUNCTION public.contactmirror_may_erase();

CREATE TRIGGER contact_audit_log_only_erasure BEFORE UPDATE ON public.contact_audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_only_erasure();

CREATE TRIGGER contact_audit_log_only_erasure_of_rows BEFORE UPDATE ON public.contact_audit_log FOR EACH ROW EXECUTE FUNCTION public.contactmirror_only_erasure();

CREATE TRIGGER duplicate_deliveries_drawn AFTER INSERT ON public.duplicate_deliveries REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_require_drawn();

CREATE TRIGGER operator_actions_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.operator_actions FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_append_only();

CREATE TRIGGER quarantined_deliveries_drawn AFTER INSERT ON public.quarantined_deliveries REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_require_drawn();

CREATE TRIGGER webhook_events_append_only BEFORE DELETE OR TRUNCATE ON public.webhook_events FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_append_only();

CREATE TRIGGER webhook_events_drawn AFTER INSERT ON public.webhook_events REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_require_drawn();

CREATE TRIGGER webhook_events_only_new_key BEFORE UPDATE ON public.webhook_events FOR EACH STATEMENT EXECUTE FUNCTION public.contactmirror_only_new_key();

CREATE TRIGGER webhook_events_only_new_key_of_rows BEFORE UPDATE ON public.webhook_events FOR EACH ROW EXECUTE FUNCTION public.contactmirror_only_new_key();

ALTER TABLE ONLY public.process_secrets
    ADD CONSTRAINT process_secrets_process_fkey FOREIGN KEY (process) REFERENCES public.processes(process) ON DELETE CASCADE;

REVOKE ALL ON FUNCTION public.advance_log_horizon() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_advance_sequences() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_analyze_values() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_bodies_needed(received_from timestamp with time zone, received_before timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_create_body_partition(ignored boolean, day date) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_delete_bodies(partition_name text, before timestamp with time zone, after bigint, batch integer, really boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_drop_bodies(partition_name text, before timestamp with time zone, really boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_erase(context_identifier text, contact_id bigint, audit_seq bigint, reason text, audit_seqs bigint[], commitments bytea[], event_seqs bigint[], redacted_events bytea[], quarantine_seqs bigint[], redacted_deliveries bytea[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_erased(context_identifier text, contact_id bigint, received_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_extend_bodies() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_lift_erasure(context_identifier text, contact_id bigint, audit_seq bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_prune_quarantine(before timestamp with time zone, after bigint, batch integer, really boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_redact_event(event_seq bigint, redacted bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_strip_delivery(quarantine_seq bigint, context_identifier text, contact_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contactmirror_strip_events(event_seqs bigint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.seal_accounts(max_rows integer) FROM PUBLIC;
