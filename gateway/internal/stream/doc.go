// Package stream keeps the recent events of jobs in memory, as read from lark.events.v1, for whoever watches a job. Memory is bounded per
// job and in total, however many watchers there are: a watcher holds a position in the job's buffer, not a copy of the buffer.
package stream
