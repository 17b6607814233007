// Package admit lets the jobs that wait in the job store go to Kafka, so many windows of a lane at a time. A catalogue waits in SQL, where it
// costs nothing, can be cancelled at once, and takes turns with the catalogues of others.
package admit
