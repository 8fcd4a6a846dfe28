-- Makes the partitions of webhook_bodies that will be needed next.
select contactmirror_extend_bodies()
