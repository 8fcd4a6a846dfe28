-- Takes a process that has ended in order, with nothing left behind, off the list.
delete from receivers
where receiver_id = @receiver_id::uuid
