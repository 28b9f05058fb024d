"""penstock-pull beside the agent, as its unit starts it, and nginx with mutual TLS as the web server that it looks at."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .agent import Agent
from .api import hierarchy, user
from .pki import Authority
from .system import LabError, Namespace, die_with_parent, run, wait_until

WEB_PORT = 8444
FILE = "gw-1.bundle"


class WebServer:
    """One folder behind one address, for clients with a certificate of the CA."""

    def __init__(self, directory: Path, namespace: Namespace, address: str, authority: Authority) -> None:
        self.directory, self.namespace, self.address = directory, namespace, address
        self.process: subprocess.Popen[bytes] | None = None
        self._mtime = int(time.time()) - 100_000
        (directory / "files").mkdir(parents=True)
        authority.issue("bundles.penstock.test", directory / "web.pem", directory / "web.key", address)
        shutil.copy(authority.certificate, directory / "ca.pem")
        (directory / "nginx.conf").write_text(f"""
user root;
error_log {directory}/error.log;
pid {directory}/nginx.pid;
daemon off;
master_process off;
events {{ }}
http {{
    log_format looks '$request_method $uri $status "$http_if_none_match" "$http_user_agent"';
    access_log {directory}/looks.log looks;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {address}:{WEB_PORT} ssl;
        ssl_certificate {directory}/web.pem;
        ssl_certificate_key {directory}/web.key;
        ssl_client_certificate {directory}/ca.pem;
        ssl_verify_client on;
        root {directory}/files;
    }}
}}
""", encoding="utf-8")

    @property
    def url(self) -> str:
        return f"https://{self.address}:{WEB_PORT}/{FILE}"

    def publish(self, bundle: Path) -> None:
        """In the place of what was there. nginx's ETag is of size and seconds: each gets its own second."""
        new = self.directory / "new"
        shutil.copy(bundle, new)
        self._mtime += 1
        os.utime(new, (self._mtime, self._mtime))
        new.rename(self.directory / "files" / FILE)

    def start(self, seconds: float) -> None:
        def setup() -> None:
            die_with_parent(signal.SIGKILL)
            self.namespace.enter()

        with open(self.directory / "nginx.out", "ab") as out:
            self.process = subprocess.Popen(["nginx", "-p", str(self.directory), "-e", str(self.directory / "error.log"), "-c", str(self.directory / "nginx.conf")],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=setup)
        if not wait_until(self._listens, seconds, 0.05):
            raise LabError(f"nginx does not listen: {(self.directory / 'nginx.out').read_text()[-300:]}")

    def _listens(self) -> bool:
        done = run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"https://{self.address}:{WEB_PORT}/"], setup=self.namespace.enter, check=False)
        return done.stdout == "400"  # no certificate

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def looks(self) -> list[str]:
        """Every request for the file: `GET /FILE STATUS "IF-NONE-MATCH" "USER-AGENT"`."""
        log = self.directory / "looks.log"
        return [line for line in log.read_text(encoding="utf-8").splitlines() if f" /{FILE} " in line] if log.exists() else []


class Pull:
    """One gateway's penstock-pull, with a certificate for the web server."""

    def __init__(self, agent: Agent, directory: Path, authority: Authority) -> None:
        self.agent = agent
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "penstock-pull.log"
        self.cgroup = hierarchy(directory) / f"penstock-lab-{directory.parent.name}-pull"
        self.process: subprocess.Popen[bytes] | None = None
        self.renew(authority)

    def renew(self, authority: Authority) -> None:
        """Another certificate and key in the place of those it shows."""
        pem, key = self.agent.etc / "pull.pem", self.agent.etc / "pull.key"
        authority.issue("gw-1.penstock.test", pem, key)
        os.chown(key, 0, user().pw_gid)
        key.chmod(0o640)

    def configuration(self, url: str, networks: str, *lines: str) -> str:
        more = "\n".join(lines)
        return f"""
[bundle]
url = "{url}"
interval = 86400
ca = ["ca.pem"]
certificate = "pull.pem"
private_key = "pull.key"
user = "{user().pw_name}"
{more}
[[essential]]
name = "bundles"
proto = "tcp"
remote_port = {WEB_PORT}
cgroups = ["/{self.cgroup.name}"]
networks = ["{networks}"]
"""

    def start(self) -> None:
        """As penstock-pull.service does: the listener's user, no capability, a cgroup of its own."""
        self.cgroup.mkdir(exist_ok=True)
        who = user()

        def enter() -> None:
            self.agent.namespace.enter()
            (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))

        argv = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
                "prlimit", "--nofile=256", str(self.agent.binaries / "penstock-pull"), "--config", str(self.agent.etc / "penstock.toml")]
        place = len(self.said())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=enter)
        if not wait_until(lambda: "event=ready" in self.said()[place:] or self.ended(), 10 * self.agent.slowness) or self.ended():
            raise LabError(f"penstock-pull does not start: {self.said()[-300:]}")

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def look(self) -> None:
        """Now, as `systemctl reload` asks it to."""
        assert self.process
        self.process.send_signal(signal.SIGHUP)

    def stop(self, signum: int = signal.SIGTERM) -> int | None:
        """Its exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signum)
            self.process.wait(10)
        wait_until(self._leave, 2)
        return self.process.returncode if self.process else None

    def _leave(self) -> bool:
        try:
            self.cgroup.rmdir()
        except OSError:
            return not self.cgroup.exists()
        return True

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def count(self, event: str, text: str = "") -> int:
        return len([line for line in self.said().splitlines() if re.search(rf"\bevent={event}\b", line) and text in line])
