"""A stand-in for the Hugging Face hub: the few routes that pushing and loading a model take.

It keeps what it is given in memory, checks what the real one checks (token, metadata of the card,
digests of large files), and notes which routes were asked for.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import yaml

TOKEN = "hf_right"
# What the hub's .gitattributes send to large file storage.
LARGE = (".safetensors", ".whl")


class StandInHub:
    """The hub. `repos` maps names to files, `requests` are pairs of method and path."""

    def __init__(self):
        self.repos = {}
        self.private = set()
        self.blobs = {}
        self.commits = []
        self.requests = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._route("GET")

    def do_HEAD(self):
        self._route("HEAD")

    def do_POST(self):
        self._route("POST")

    def do_PUT(self):
        self._route("PUT")

    def _route(self, method):
        path = unquote(urlparse(self.path).path).strip("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        self.hub.requests.append((method, path))
        # Large files come with an address of their own, which needs no token.
        writes = method == "POST"
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json(401, {"error": "Invalid username or password."})
        parts = path.split("/")
        if path == "api/repos/create":
            return self._create(json.loads(body))
        if path == "api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if path.startswith("lfs/") and method == "PUT":
            return self._store(parts[1], body)
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        if parts[:2] == ["api", "models"]:
            return self._model("/".join(parts[2:4]), parts[4:], body)
        if parts[2:3] == ["resolve"]:
            return self._file("/".join(parts[:2]), "/".join(parts[4:]), method)
        return self._json(404, {"error": f"no route {method} {path}"})

    def _create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repos:
            said = {"error": "You already created this model repo"}
            return self._json(409, {**said, "url": f"{self.hub.endpoint}/{name}"})
        self.hub.repos[name] = {".gitattributes": b"*.safetensors filter=lfs\n"}
        if asked.get("private"):
            self.hub.private.add(name)
        return self._json(200, {"url": f"{self.hub.endpoint}/{name}"})

    def _validate(self, card):
        _, head, _ = card.split("---\n", 2)
        errors = []
        data = yaml.safe_load(head)
        for key, kind in (("language", (str, list)), ("tags", list), ("license", str)):
            if key in data and not isinstance(data[key], kind):
                errors.append({"message": f'"{key}" must be {kind}'})
        for model in data.get("model-index", ()):
            for result in model["results"]:
                if not {"task", "dataset", "metrics"} <= set(result):
                    errors.append({"message": '"model-index" lacks something'})
        return self._json(400 if errors else 200, {"errors": errors, "warnings": []})

    def _batch(self, asked):
        objects = []
        for one in asked["objects"]:
            if one["oid"] not in self.hub.blobs:
                href = f"{self.hub.endpoint}/lfs/{one['oid']}"
                one = {**one, "actions": {"upload": {"href": href}}}
            objects.append(one)
        return self._json(200, {"transfer": "basic", "objects": objects})

    def _store(self, oid, body):
        if hashlib.sha256(body).hexdigest() != oid:
            return self._json(400, {"error": "another digest"})
        self.hub.blobs[oid] = body
        return self._json(200, {})

    def _model(self, name, rest, body):
        files = self.hub.repos.get(name)
        if files is None:
            self._json(404, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
        elif rest[:1] == ["preupload"]:
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            self._json(200, {"files": modes})
        elif rest[:1] == ["commit"]:
            self._commit(name, files, [json.loads(line) for line in body.splitlines()])
        elif rest[:1] == ["tree"]:
            listed = [
                {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
                for path, data in files.items()
            ]
            self._json(200, listed)
        else:
            siblings = [{"rfilename": path} for path in files]
            self._json(200, {"id": name, "sha": self._sha(), "siblings": siblings})

    def _commit(self, name, files, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.hub.commits.append((name, value["summary"]))
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        address = f"{self.hub.endpoint}/{name}/commit/{self._sha()}"
        self._json(200, {"success": True, "commitUrl": address, "commitOid": self._sha()})

    def _file(self, name, path, method):
        data = self.hub.repos.get(name, {}).get(path)
        if data is None:
            return self._json(404, {"error": "no"}, **{"X-Error-Code": "EntryNotFound"})
        self.send_response(200)
        self.send_header("X-Repo-Commit", self._sha())
        self.send_header("ETag", f'"{_oid(data)}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if method == "GET":
            self.wfile.write(data)
        return None

    def _sha(self):
        return hashlib.sha1(str(len(self.hub.commits)).encode()).hexdigest()

    def _json(self, status, content, **headers):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


def _oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
