package collector

// HoldOwnership keeps the ownership of the account from ending, as if this process had not noticed yet that it is to.
func (a *Account) HoldOwnership() (release func()) {
	a.changing.Lock()
	return a.changing.Unlock
}
