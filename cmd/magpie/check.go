package main

import (
	"fmt"

	"github.com/pelletier/go-toml/v2"
)

type checkCommand struct {
	serveFlags
}

// Run prints the configuration as a file that would give it, except for secrets.
func (f checkCommand) Run(c *console) error {
	cfg, err := f.load(c.environ)
	if err != nil {
		return err
	}
	text, err := toml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	_, err = c.out.Write(text)
	return err
}
