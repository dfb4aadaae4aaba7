"""Artifact URIs that try to lead elsewhere; `{host}` is a server on this machine that must never be called."""

AWAY: tuple[str, ...] = (
    # another server
    "http://{host}/x", "HTTP://{host}/x", "https://{host}/x", "http:{host}/x", "http:/{host}/x", "http:///{host}/x",
    "http:\\\\{host}\\x", "//{host}/x", "///{host}/x", "////{host}/x", "\\\\{host}\\x", "/\\{host}/x", "\\/{host}/x",
    "/\t/{host}/x", "/\n/{host}/x", "/%2f{host}/x", "%2f%2f{host}/x", "/%5c{host}/x", "//{host}", "//user@{host}/x",
    "//user:pass@{host}/x", "@{host}/x", "x@{host}/x", "user:pass@{host}/x", ":80@{host}/x",
    "http://x.example@{host}/x", "http://{host}#@x.example/", "http://{host}?@x.example/",
    "http://{host}\\@x.example/", "..{host}/../x", "//2130706433:{port}/x", "//0x7f000001:{port}/x",
    "//0x7f.1:{port}/x", "//017700000001:{port}/x", "//127.1:{port}/x", "//0177.0.0.1:{port}/x", "//0:{port}/x",
    "//[::1]:{port}/x", "//[::ffff:127.0.0.1]:{port}/x", "//[0:0:0:0:0:ffff:7f00:1]:{port}/x",
    "//127\u30020\u30020\u30021:{port}/x", "//127.0.0.1\uff1a{port}/x", "//\u2460\u2461\u2466.0.0.1:{port}/x",
    "//localhost:{port}/x", "//LOCALHOST:{port}/x", "//localhost.:{port}/x", "//127.0.0.1.nip.example:{port}/x",
    "http:{port}", "http://[::1/x", "http://{host}:80:80/x", "//\u212aocalhost:{port}/x",
    "//169.254.169.254/latest/meta-data/", "http://169.254.169.254/", "http://[fd00:ec2::254]/x",
    "//metadata.internal/x", "http://kubernetes.default.svc/api",
    # another scheme
    "file:///etc/passwd", "file:etc/passwd", "FILE:/etc/passwd", "gopher://{host}/_x", "ftp://{host}/x",
    "dict://{host}/x", "ldap://{host}/x", "jar:http://{host}!/x", "data:text/plain,x", "data:,x", "javascript:x",
    "ws://{host}/", "unix:/run/docker.sock", "unix:run/docker.sock", "netdoc:x", "x:y", "c:x", "C:\\x", "urn:a:b",
    "view-source:x", "about:blank", "sftp://{host}/x", "tftp://{host}/x", "s3://bucket/x", "oci://{host}/x",
    "a+b.c-1:x",
    # another path of the same server
    "/", "/x", "/etc/passwd", "/repository/other/x", "..", "../x", "../../x", "../other/x", "a/..", "a/../x",
    "a/../../x", "a/b/../../../x", "./x", ".", "a/.", "a/./x", "...", "a/.../x", "....", "....//x", "..;/x", "a/..;/x",
    "a;/../x", ".;/x", "..\\x", "a\\..\\..\\x", "..%2fx", "%2e%2e/x", "%2e%2e%2fx", ".%2e/x", "%2E./x",
    "..%5cx", "%252e%252e/x", "%c0%ae%c0%ae/x", "..%c0%afx", "%uff0e%uff0e/x", "%%32%65/x", "a/%2e%2e/x", "a/..%00/x",
    "..%00/x", "a//x", "a///x", "a/", "a/b/", "//", "///", "~/../x", "a/ ../x", "a/.. /x", "a/.\u200b./x", "\u2025/x",
    "\uff0e\uff0e/x", "a/\uff0e\uff0e/x", "\u2024\u2024/x", "a\uff0fx", "a\u2215x", "a\u2044x", "..\u2215x",
    "\uff0f\uff0fx",
    # a query, a fragment, a second request
    "x?y", "?", "?x=1", "x?/../y", "x#y", "#", "#/../x", "x%3fy", "x%23y", "x\r\nHost: {host}",
    "x\nGET / HTTP/1.1", "x\rX", "x\r\n\r\nGET /y HTTP/1.1\r\n\r\n", "x%0d%0aHost:%20{host}", "x%0aX",
    "x HTTP/1.1\r\nX: y", "x\0", "\0x", "a\0/../x", "x%00", "x%00.proto",
    "x\t", "\tx", "a\tb", "x\x0b", "x\x1b[2J", "x\x7f", "x\x85y", "x\u2028y", "x\u2029y", "\ufeffx", "x\u202ey",
    "x\u200by", "x\u00a0y", "x\u3000y", "x\ud800", "\udc00x", "\uffff",
    # what shells, templates and libraries interpret
    "", " ", "  ", " x", "x ", "a/ /x", "a/ b", "a /b", "`id`", "${x}", "{x}", "{{x}}", "{0}",
    "a|b", "a>b", "a<b>", 'a"b', "a[0]", "[x]", "[::1]/x",
    "a^b", "a@b", "@", "user@host/x", "~root/../x", "<script>",
    # what a server turns into another path: parameters, normalisation, joiners that a file system drops
    ";", ";x", "a/;/x", "a/;x/y", "a/.;x/y", "a/..;x=y/z", "a/...;/x", "a/%2e%2e;/x", "a/..%3b/x", "a/..%3bx/y",
    "a/%3b/x", "..\uff1b/x", "a/\uff0e;/x", "a/.\u200c./x", "a/\u200d../x", "a/..\u200c/x", "\u200d",
    "a/\u2026/x", "\u2024./x",
    "a\u2100b", "a\u2105b", "a\u2a74/\u2025/x", "a\u2216b", "a\u29f5b", "a\u29f8b", "a\uff3cb", "a\ufe68b", "a\uff1fb",
    "a\uff03b", "\uff052e\uff052e/x", "a\ufe6a2fb", "a\ufe56b", "a\ufe5fb", "a\u2047b",
    "x\u2060y", "x\u00ady", "x\u061cy", "x\u2066y", "x\u206ay", "x\ufff9y", "x\U000e0041y", "x\ue000y", "x\U000f0000y",
    "x\u0378y", "x\u1680y", "x\u2003y", "x\u202fy",
    # too long
    "x" * 513, "a/" * 257, "a/" * 10_000 + "b", "../" * 5_000 + "x", " " * 100_000 + "x", "x" * 1_000_000,
)  # fmt: skip
