package auth

// Remembered is how many keys and tenants are kept in memory.
func (a *Authenticator) Remembered() int {
	a.keys.mu.Lock()
	defer a.keys.mu.Unlock()
	a.tenants.mu.Lock()
	defer a.tenants.mu.Unlock()
	return len(a.keys.values) + len(a.tenants.values)
}
