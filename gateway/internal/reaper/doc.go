// Package reaper ends the jobs that nothing else ends. A stage ends the questions of the records that it holds; the reaper looks after the jobs
// whose records no stage holds: because the stage is down, because a power cut lost the record, or because the recorder has buried it.
package reaper
