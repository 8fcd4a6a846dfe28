-- Is anything queued?
select exists (select from sync_queue)
