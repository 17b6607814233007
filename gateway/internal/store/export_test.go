package store

import "context"

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
	return map[string]string{nextWaiting: "jobs_waiting", anyOfTenant: "jobs_waiting", anyWaiting: "jobs_waiting", windowsInWork: "jobs_admitted"}
}
