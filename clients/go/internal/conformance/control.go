package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// program is the path of a program that the repository builds.
func program(variable, name string) string {
	if path := os.Getenv(variable); path != "" {
		return path
	}
	return filepath.Join(Folder(), "../../target/debug", name)
}

// Missing are the programs that are not built, with the variables that name others.
func Missing() []string {
	var missing []string
	for variable, name := range map[string]string{
		"LARDER_BIN": "larder", "LARDER_CLIENT_CONTROL": "client-control",
	} {
		if _, err := exec.LookPath(program(variable, name)); err != nil {
			missing = append(missing, fmt.Sprintf("%s (%s)", program(variable, name), variable))
		}
	}
	return missing
}

// Control is a running control program (crates/client-control), with one server.
type Control struct {
	Addresses map[string]string
	state     string
	process   *exec.Cmd
	input     io.WriteCloser
	output    *bufio.Reader
	mu        sync.Mutex
}

// StartControl starts the program and a server.
func StartControl(store string) (*Control, error) {
	process := exec.Command(program("LARDER_CLIENT_CONTROL", "client-control"))
	process.Stderr = os.Stderr
	input, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	control := &Control{process: process, input: input, output: bufio.NewReader(output)}
	answer, err := control.Do("start", Fields{
		"binary": program("LARDER_BIN", "larder"),
		"config": filepath.Join(Folder(), "larder.toml"), "store": store,
	})
	if err != nil {
		control.Close()
		return nil, err
	}
	control.setAddresses(answer)
	return control, nil
}

func (c *Control) setAddresses(answer Fields) {
	c.Addresses = map[string]string{}
	for name, address := range answer {
		c.Addresses[name], _ = address.(string)
	}
}

// Do runs a command, and returns its result.
func (c *Control) Do(command string, args Fields) (Fields, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	request := Fields{"do": command}
	for name, value := range args {
		request[name] = value
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if _, err := c.input.Write(append(text, '\n')); err != nil {
		return nil, fmt.Errorf("the control program has ended: %w", err)
	}
	line, err := c.output.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the control program has ended: %w", err)
	}
	var answer struct {
		OK    any     `json:"ok"`
		Error *string `json:"error"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("control program: %s", *answer.Error)
	}
	fields, _ := answer.OK.(Fields)
	return fields, nil
}

// Clear forgets calls, script and faults. The gateway has another port afterwards.
func (c *Control) Clear() error {
	answer, err := c.Do("clear", nil)
	if err == nil {
		c.setAddresses(answer)
	}
	return err
}

// Server stops, starts, pauses or resumes the server.
func (c *Control) Server(state string) error {
	_, err := c.Do("server", Fields{"state": state})
	c.state = state
	return err
}

// Restore lets the server run again, whatever a case has done to it.
func (c *Control) Restore() error {
	switch c.state {
	case "pause":
		return c.Server("resume")
	case "stop":
		return c.Server("start")
	}
	return nil
}

// Close ends the program, and with it the server.
func (c *Control) Close() {
	_ = c.input.Close()
	_ = c.process.Wait()
}
