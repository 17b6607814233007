package store

import (
	"context"
	"database/sql"
)

// Rebind turns placeholders into numbered ones.
func Rebind(query string) string { return dialect{numbered: true}.rebind(query) }

// Exec runs a statement.
func (s *SQL) Exec(ctx context.Context, query string) error {
	_, err := s.write.ExecContext(ctx, query)
	return err
}

// HoldWriter takes the connection that writes until release.
func (s *SQL) HoldWriter(ctx context.Context) (release func(), err error) {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return func() { _ = conn.Close() }, nil // it goes back to the pool
}

// Pragma sets a pragma on the connection that writes.
func (s *SQL) Pragma(ctx context.Context, text string) error {
	_, err := s.write.ExecContext(ctx, "PRAGMA "+text)
	return err
}

// Refused marks the errors that are a record's own fault.
func (s *SQL) Refused(err error) error { return s.dialect.refused(err) }

// AdmissionQueries are the questions of admission, each with the index that answers it.
func AdmissionQueries() map[string]string {
	return map[string]string{nextWaiting: "jobs_waiting", anyOfTenant: "jobs_waiting", anyWaiting: "jobs_waiting", windowsInWork: "jobs_admitted", howManyWait: "jobs_waiting"}
}

// BoundedQueries are the questions that each round of the admitter asks, with arguments for a lane and a tenant, and the most rows of jobs that they may read.
func BoundedQueries(lane, tenant string) map[string]Bounded {
	return map[string]Bounded{
		howManyWait: {[]any{lane, openJobs(lane), lane}, 10}, anyWaiting: {[]any{lane}, 10}, anyOfTenant: {[]any{lane, tenant}, 10},
		nextWaiting: {[]any{lane, tenant, 0, 0, 5}, 15}, windowsInWork: {[]any{lane}, 10},
	}
}

// BoundedWebhooks are the questions about the backlog of webhooks, which may read few deliveries.
func BoundedWebhooks() map[string]Bounded {
	return map[string]Bounded{howManyPending: {[]any{20}, 21}, oldestDelivery: {nil, 3}, longestDue: {nil, 5}}
}

// Bounded are the arguments of a query, and the most rows that it may read.
type Bounded struct {
	Args []any
	Rows int
}

// Reader is the database that reads.
func (s *SQL) Reader() *sql.DB { return s.read }
