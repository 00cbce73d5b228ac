package collector

// HoldOwner keeps the owner of the account from being ended, as if this process had not noticed yet that it is to be.
func (a *Account) HoldOwner() (release func()) {
	a.changing.Lock()
	return a.changing.Unlock
}
