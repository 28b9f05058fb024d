"""The cloud's real servers behind one address (nginx with mutual TLS, mosquitto, CoAP over DTLS, and their plaintext twins), and the real clients of a device."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import topology as net
from .pki import Authority
from .system import LabError, Namespace, die_with_parent, run, wait_until

NAME = "hub.penstock.test"
READING = '{"temperature":25.5,"humidity":60}'
STORED, FAILED = "stored", "no connection"


def _nginx(directory: Path) -> str:
    # A request's body is only logged where it is passed on: hence the server on loopback behind the two that devices see.
    return f"""
error_log {directory}/nginx-error.log;
pid {directory}/nginx.pid;
daemon off;
master_process off;
events {{ }}
http {{
    log_format readings escape=none '$scheme $ssl_client_s_dn $request_body';
    access_log {directory}/readings.log readings;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {net.HUB4}:443 ssl;
        listen [{net.HUB6}]:443 ssl;
        ssl_certificate hub.pem;
        ssl_certificate_key hub.key;
        ssl_client_certificate ca.pem;
        ssl_verify_client on;
        location / {{ proxy_pass http://127.0.0.1:8081; }}
    }}
    server {{
        listen {net.HUB4}:80;
        listen [{net.HUB6}]:80;
        location / {{ proxy_pass http://127.0.0.1:8081; }}
    }}
    server {{
        listen 127.0.0.1:8081;
        access_log off;
        location / {{ return 201 "stored\\n"; }}
    }}
}}
"""


def _mosquitto(directory: Path) -> str:
    def listener(port: int, address: str, secured: bool) -> str:
        tls = f"""
cafile {directory}/ca.pem
certfile {directory}/hub.pem
keyfile {directory}/hub.key
require_certificate true
use_identity_as_username true"""
        return f"listener {port} {address}{tls if secured else ''}\nallow_anonymous {'false' if secured else 'true'}\n"

    listeners = [listener(8883, address, True) + listener(1883, address, False) for address in (net.HUB4, net.HUB6)]
    return f"user root\nper_listener_settings true\nlog_dest file {directory}/mosquitto.log\n" + "".join(listeners)


@dataclass
class Hub:
    """The servers, and the certificates of one device to reach them with."""

    directory: Path
    cloud: Namespace
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @staticmethod
    def start(directory: Path, cloud: Namespace, authority: Authority, seconds: float) -> "Hub":
        directory.mkdir(parents=True)
        hub = Hub(directory, cloud)
        authority.issue(NAME, directory / "hub.pem", directory / "hub.key", net.HUB4, net.HUB6)
        authority.issue("thermostat.penstock.test", directory / "device.pem", directory / "device.key")
        (directory / "ca.pem").write_bytes(authority.certificate.read_bytes())
        (directory / "nginx.conf").write_text(_nginx(directory), encoding="utf-8")
        (directory / "mosquitto.conf").write_text(_mosquitto(directory), encoding="utf-8")
        hub._serve(["nginx", "-p", str(directory), "-e", str(directory / "nginx-error.log"), "-c", str(directory / "nginx.conf")])
        hub._serve(["mosquitto", "-c", str(directory / "mosquitto.conf")])
        # Opens 5683 and, having a certificate, 5684 for DTLS; a device must show one of our CA.
        hub._serve(["coap-server-openssl", "-A", net.HUB4, "-d", "10", "-c", str(directory / "hub.pem"), "-j", str(directory / "hub.key"),
                    "-C", str(directory / "ca.pem"), "-v", "4"])
        hub._wait(seconds)
        return hub

    def _serve(self, argv: list[str]) -> None:
        def setup() -> None:
            die_with_parent(signal.SIGKILL)
            self.cloud.enter()

        with open(self.directory / f"{argv[0]}.out", "wb") as out:
            self._processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.directory, preexec_fn=setup))

    def _wait(self, seconds: float) -> None:
        def listening(address: str, port: int) -> bool:
            with self.cloud.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as sock:
                return sock.connect_ex((address, port)) == 0

        def ready() -> bool:
            for process in self._processes:
                if process.poll() is not None:
                    name = str(process.args[0])  # type: ignore[index]
                    raise LabError(f"{name} ended with {process.returncode}: {self._last_words(name)}")
            return all(listening(address, port) for address in (net.HUB4, net.HUB6) for port in (443, 80, 8883, 1883))

        if not wait_until(ready, seconds, 0.05):
            raise LabError("the cloud's servers do not listen")

    def _last_words(self, name: str) -> str:
        texts = [path.read_text(errors="replace") for path in (self.directory / f"{name}.out", self.directory / f"{name}.log",
                                                               self.directory / f"{name}-error.log") if path.exists()]
        return " | ".join("".join(texts).splitlines()[-3:])

    # What a device can do

    def _client(self, device: Namespace, argv: list[str], seconds: float, good: str) -> str:
        try:
            done = run(argv, setup=device.enter, check=False, timeout=seconds + 1)
        except LabError:
            return FAILED
        return STORED if done.returncode == 0 and re.search(good, done.stdout + done.stderr) else FAILED

    def post(self, device: Namespace, seconds: float, secured: bool, version: int = 4, certificate: bool = True) -> str:
        """curl: a reading by HTTP POST."""
        address = net.HUB4 if version == 4 else f"[{net.HUB6}]"
        scheme, port = ("https", 443) if secured else ("http", 80)
        tls = ["--cacert", "ca.pem"] + (["--cert", "device.pem", "--key", "device.key"] if certificate else []) if secured else []
        return self._client(device, ["env", "-C", str(self.directory), "curl", "--silent", "--max-time", f"{seconds:.1f}", *tls, "--noproxy", "*",
                                     "--resolve", f"{NAME}:{port}:{address}", "--write-out", "%{http_code}", "-H", "Content-Type: application/json",
                                     "--data", READING, f"{scheme}://{NAME}/readings"], seconds, "201")

    def publish(self, device: Namespace, seconds: float, secured: bool, version: int = 4) -> str:
        """mosquitto_pub with QoS 1: it ends well only if the broker acknowledged."""
        tls = ["--cafile", "ca.pem", "--cert", "device.pem", "--key", "device.key"] if secured else []
        return self._client(device, ["env", "-C", str(self.directory), "timeout", f"{seconds:.1f}", "mosquitto_pub", "-h",
                                     net.HUB4 if version == 4 else net.HUB6, "-p", "8883" if secured else "1883", "-q", "1", "-t", "readings",
                                     "-m", READING, *tls], seconds, "")

    def put(self, device: Namespace, seconds: float, secured: bool) -> str:
        """coap-client-openssl: a reading by CoAP PUT; it says the response's code only when asked to be talkative."""
        tls = ["-c", "device.pem", "-j", "device.key", "-C", "ca.pem"] if secured else []
        return self._client(device, ["env", "-C", str(self.directory), "timeout", f"{seconds:.1f}", "coap-client-openssl", "-v", "7", "-m", "put",
                                     "-t", "application/json", "-e", READING.replace('"', "%22"), *tls,
                                     f"coap{'s' if secured else ''}://{net.HUB4}/readings"], seconds, r"c:2\.0[14]")

    def readings(self) -> list[str]:
        """What nginx noted: scheme, the client's certificate, the body."""
        path = self.directory / "readings.log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
