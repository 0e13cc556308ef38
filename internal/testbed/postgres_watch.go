package testbed

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// watcher removes a server's folder, after ending the server, when the
// process that started it has ended, of whatever cause. Go runs nothing at
// the end of a test process, and the kernel's Pdeathsig can't remove files.
type watcher struct {
	cmd   *exec.Cmd
	alive io.WriteCloser // closed by the kernel, at the latest
}

// watchScript waits for the end of its standard input. The server's children
// see their parent end, and a server that still starts ends when it finds its
// folder gone.
const watchScript = `
trap '' HUP INT TERM
read -r _
dir=$1
pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
	kill -QUIT "$pid" 2>/dev/null
	tries=0
	while [ -e "$dir/data/postmaster.pid" ] && kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 500 ]; do
		tries=$((tries + 1))
		sleep 0.02
	done
	kill -KILL "$pid" 2>/dev/null
fi
cd /
rm -rf "$dir" || { sleep 1; rm -rf "$dir"; }
`

func watch(dir string, as *syscall.Credential) (*watcher, error) {
	cmd := exec.Command("sh", "-c", watchScript, "synapse-maint-testbed", dir)
	cmd.Dir = dir
	// A session of its own: an interrupt at the terminal isn't meant for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setsid: true}
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("watcher: %w", err)
	}
	return &watcher{cmd, alive}, nil
}

// end makes the watcher do its work, and waits until it is done.
func (w *watcher) end() {
	_ = w.alive.Close()
	_ = w.cmd.Wait()
}

// serverUser is whom a server runs as. PostgreSQL refuses to run as root.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(Superuser)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL can't run as root: %w (run make setup)", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
