package lab

import "context"

// Install builds Porchlight from the checkout and installs it in the lab.
func (l *Lab) Install(ctx context.Context) error { return nil }
