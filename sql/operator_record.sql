-- Records what an operator did.
insert into operator_actions (actor, action, context_identifier, contact_id, detail)
values (@actor::text, @action::text, @context_identifier::text, @contact_id::bigint, @detail::jsonb)
