// Package bench measures a mirror from outside: how fast deliveries are
// acknowledged, how soon they are seen in the tables, and how fast a backlog
// drains.
//
// It makes traffic, fills tables, posts deliveries, watches tables and reads
// what the kernel says of a process. What is measured is run by whoever calls
// it, so the package knows neither receiver nor worker, and the numbers are of
// the program as it is. Nothing here judges: figures go to the caller, with what
// they are to be compared with from the same run.
//
// It writes into the schema that its connection's search_path names first and
// that its caller has made for it; never into one that holds a mirror.
package bench
