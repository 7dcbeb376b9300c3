"""Servers in the foreground, on loopback ports and in folders of the test's own."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.packages import nginx

JAVA_SERVER = """
import java.io.*; import java.net.*; import java.security.KeyStore; import javax.net.ssl.*;
public class Serve {
    public static void main(String[] a) throws Exception {
        char[] password = a[2].toCharArray();
        KeyStore store = KeyStore.getInstance(new File(a[0]), password);
        if (!store.isKeyEntry(a[3])) throw new IllegalStateException("no key " + a[3]);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(store, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        ServerSocket server = context.getServerSocketFactory()
            .createServerSocket(Integer.parseInt(a[1]), 5, InetAddress.getLoopbackAddress());
        while (true) try (Socket one = server.accept()) { one.getOutputStream().write(10); } catch (IOException lost) { }
    }
}
"""


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """The server in the foreground until it accepts connections; ended at the end."""
    log = folder / "log"
    with log.open("wb") as file, subprocess.Popen(command, cwd=folder, stdout=file, stderr=file) as server:
        try:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield
        finally:
            server.terminate()


@contextlib.contextmanager
def nginx_with(site: str, port: int, folder: Path) -> Iterator[None]:
    """Run nginx with these server blocks, which listen at the port."""
    if nginx() is None:
        pytest.skip("nginx is not installed")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = f"pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} {site} }}"
    (folder / "nginx.conf").write_text(main)
    command = [str(nginx()), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with running([*command, "-g", "daemon off;"], port, folder):
        yield


@contextlib.contextmanager
def java_with(store: str, alias: str, port: int, folder: Path, *, password: str = "changeit") -> Iterator[None]:
    """Run a TLS server of Java's own library with the key store."""
    (folder / "Serve.java").write_text(JAVA_SERVER)
    with running(["java", str(folder / "Serve.java"), store, str(port), password, alias], port, folder):
        yield


def open_to_all(folder: Path) -> None:
    """Let servers that run as another user into a folder of the test."""
    for path in (folder, *folder.parents):
        if path.is_relative_to(tempfile.gettempdir()) and path != Path(tempfile.gettempdir()):
            path.chmod(path.stat().st_mode | 0o055)


def type_passwords(command: str, folder: Path, password: str = "changeit") -> str:
    """Run a command in a terminal, and type the password at each prompt for one. Returns what was shown.

    keytool reads passwords from the terminal, and takes more than its own from a pipe.
    """
    terminal, side = pty.openpty()
    script = ["bash", "-euc", command]
    with subprocess.Popen(script, cwd=folder, stdin=side, stdout=side, stderr=side, start_new_session=True) as process:
        os.close(side)
        shown, answered = "", 0
        with contextlib.suppress(OSError):  # the terminal is closed by the last process in it
            while chunk := os.read(terminal, 4096):
                shown += chunk.decode(errors="replace")
                asked = shown.count("password:")
                if asked > answered:
                    os.write(terminal, f"{password}\n".encode() * (asked - answered))
                    answered = asked
        code = process.wait()  # before its terminal is closed, which would hang it up
        os.close(terminal)
        assert code == 0, shown
    return shown
