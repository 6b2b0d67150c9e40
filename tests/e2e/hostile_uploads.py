"""Uploads that somebody sends who means no good, or whose program is broken, each with the answer
that it has to get: (what it is, request, status, part of the detail)."""

import io
import struct
import zipfile
import zlib

B = "boundary"
FORM = f"multipart/form-data; boundary={B}"

PNG = (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">IIBBBBB", 2, 3, 8, 2,
        0, 0, 0)
       + b"\0\0\0\0" + struct.pack(">I", 0) + b"IEND\xae\x42\x60\x82")
GIF = b"GIF89a\x02\0\x03\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x02\0\x03\0\0\x02\x02\x84\x51\0;"
JPEG = (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
        b"\xff\xc0\0\x11\x08\0\x03\0\x02\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
        b"\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0\0\xff\xd9")
# As cameras and picture editors write them: segments with previews and profiles come first.
JPEG_WITH_ANOTHER = JPEG[:2] + b"\xff\xe2\0\x08MPF\0MM" + JPEG[2:] + JPEG
JPEG_WITH_MUCH_BEFORE_IT = (JPEG[:2] + (b"\xff\xe1\xff\xff" + b"E" * 65_533) * 3 + JPEG[2:])
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 60
EXE = b"MZ" + b"\x90\0\x03\0\0\0\x04\0\0\0\xff\xff" + b"\0" * 100


def archive(*names, content=b"x"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            packed.writestr(name, content)
    return out.getvalue()


def overlapping(times):
    """A document whose directory names the same 100,000 zeros again and again."""
    packed = archive(*WORD, content=b"\0" * 100_000)
    at = packed.index(b"PK\1\2")
    end = packed.index(b"PK\5\6")
    directory = packed[at:end] + packed[at:end][-63:] * times
    count = struct.pack("<HH", times + 2, times + 2)
    return packed[:at] + directory + packed[end:end + 8] + count + struct.pack(
        "<II", len(directory), at) + b"\0\0"


WORD = ("[Content_Types].xml", "word/document.xml")
DOCX = archive(*WORD)
ZIP = archive("a.txt")
# The comment at the end of an archive looks like another end, or is as long as it may be.
ZIP_WITH_TWO_ENDS = ZIP[:-2] + struct.pack("<H", 12) + b"PK\5\6" + b"\xff" * 8
ZIP_WITH_LONG_END = ZIP[:-2] + struct.pack("<H", 0xffff) + b"x" * (0xffff - 2)
BOMB = archive("bomb", content=b"\0" * 5_000_000)
PDF_AND_TAR = PDF[:-6].ljust(257) + b"ustar\x0000" + b"\0" * 500 + b"%%EOF\n"
PDF_AND_ISO = PDF[:-6].ljust(32_769) + b"CD001\x01\0" + b"\0" * 500 + b"%%EOF\n"
TAR = b"a.txt".ljust(100, b"\0") + b"0000644\0" * 3 + b"0" * 24 + b"ustar\x0000" + b"\0" * 500


SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c\0\x04" + b"y" * 50
RAR = b"Rar!\x1a\x07\x01\0" + b"x" * 50


def commented(packed, comment):
    """The archive with this comment, which readers take no notice of."""
    return packed[:-2] + struct.pack("<H", len(comment)) + comment


# A comment that is said to be longer than what is there: readers open it all the same.
ZIP_BEYOND_ITS_END = ZIP[:-2] + b"\xff\xff"
JAR = commented(archive("META-INF/MANIFEST.MF", "Evil.class"), b"word/ [Content_Types].xml")


def ole(*streams):
    """A compound file that has empty streams of these names."""
    def entry(name, kind, child=0xffffffff, right=0xffffffff):
        text = name.encode("utf-16-le") + b"\0\0"
        return (text.ljust(64, b"\0") +
                struct.pack("<HBB3I", len(text), kind, 1, 0xffffffff, right, child) +
                b"\0" * 36 + struct.pack("<IQ", 0xfffffffe, 0))
    head = (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 +
            struct.pack("<5H", 0x3e, 3, 0xfffe, 9, 6) + b"\0" * 6 +
            struct.pack("<10I", 0, 1, 1, 0, 4096, 0xfffffffe, 0, 0xfffffffe, 0, 0) + b"\xff" * 432)
    table = struct.pack("<2I", 0xfffffffd, 0xfffffffe) + b"\xff" * 504
    last = len(streams)
    entries = [entry("Root Entry", 5, child=1)] + [
        entry(name, 2, right=at + 1 if at < last else 0xffffffff)
        for at, name in enumerate(streams, 1)]
    return head + table + b"".join(entries).ljust(512, b"\0")


DOC = ole("WordDocument")
SVG_WITH_MUCH_BEFORE_IT = (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//>"'
                           b' "x" [<!ENTITY a "<svg>"><!-- \' -->]>\n<s:svg xmlns:s="x"></s:svg>')


def png_of(width, height):
    return PNG[:16] + struct.pack(">II", width, height) + PNG[24:]


def part(name="files", filename="a.txt", content=b"x", more="", raw_disposition=None):
    shown = raw_disposition or (f'form-data; name="{name}"' +
                                (f'; filename="{filename}"' if filename is not None else ""))
    head = f"--{B}\r\nContent-Disposition: {shown}\r\n{more}\r\n"
    head = head.encode("utf-8", "surrogateescape") if isinstance(head, str) else head
    return head + content + b"\r\n"


END = f"--{B}--\r\n".encode()


def file(filename, content=b"x", file_type="data_files", more=""):
    return {"body": part(filename=filename, content=content, more=more) + END, "type": file_type}


def form(body, content_type=FORM, file_type="data_files"):
    return {"body": body, "type": file_type, "content_type": content_type}


def names():
    """Names are data: a path before them is cut off, what cannot be a name is refused."""
    for sent in ("../../etc/passwd.txt", "/etc/passwd.txt", "..\\..\\boot.txt", "C:\\x\\passwd.txt",
                 "....//....//passwd.txt", "~/passwd.txt", "file:///etc/passwd.txt",
                 "\\\\server\\share\\passwd.txt"):
        yield (f"a path: {sent}",
               file(sent.replace("\\", "\\\\")), 200, sent.replace("\\", "/").split("/")[-1])
    for sent in ("%2e%2e%2fpasswd.txt", "..%5cpasswd.txt", "CON.txt", "aux.log", "-rf.txt",
                 "$(id).txt", "`id`.txt", ";rm -rf.txt", "<script>.txt", "a'b.txt", "a b.txt",
                 "名前.txt", "\u202etxt.exe.txt", "\u00e4\u0308.txt", ".hidden.txt", "a..txt",
                 "con:stream.txt", "😀.log", "a;b.txt", "a=b.txt", "a,b.csv", "x" * 251 + ".txt"):
        yield f"an odd name: {sent[:30]}", file(sent), 200, sent
    for sent, why in (("", "no name"), (".", "no name"), ("..", "no name"), ("../", "no name"),
                      ("a/", "no name"), ("x" * 252 + ".txt", "longer than"), ("a\tb.txt",
                              "control"),
                      ("a\x7fb.txt", "malformed header"), ("a\x01b.txt", "malformed header"),
                      ("a\0.txt", "malformed header"), ("a.txt\0.exe", "malformed header"),
                      ("a\x1b[2J.txt", "malformed header")):
        yield f"no name: {sent[:20]!r}", file(sent), 400, why
    yield ("a name that is not UTF-8",
           form(part(raw_disposition='form-data; name="files"; filename="\udcff.txt"') + END), 400,
           "not UTF-8")
    yield ("an overlong slash", form(part(
        raw_disposition='form-data; name="files"; filename="\udcc0\udcaf.txt"') + END), 400,
        "not UTF-8")


def extensions():
    for sent in ("a.exe", "a.php", "a.txt.exe", "a.html", "a.js", "a.sh", "a", "a.", ".txt",
                 "a.txt ",
                 "a.txt.", "a.png", "a.json.php", "a.tar.gz", "a.svgz", "a.TXT.scr"):
        yield f"extension of {sent!r}", file(sent), 400, "is not allowed for data_files"
    for sent, file_type in (("a.txt", "agent_configs"), ("a.md", "agent_configs"),
                            ("a.toml", "agent_configs"), ("a.txt", "images"), ("a.webp", "images"),
                            ("a.ico", "images"), ("a.txt", "documents"), ("a.rtf", "documents"),
                            ("a.xlsx", "documents"), ("a.docm", "documents"), ("a.yaml",
                                    "data_files")):
        yield f"{sent} among {file_type}", file(sent, file_type=file_type), 400, "is not allowed"
    for sent in ("a.TXT", "a.LoG", "a.exe.txt", "a.php.csv"):
        yield f"extension of {sent!r}", file(sent), 200, sent
    for kind in ("nothing", "..", "agent_configs%00", "AGENT_CONFIGS", "data_files%2f..", "%C3%BC"):
        yield (f"file type {kind}", {**file("a.txt"), "type": kind}, 400,
               "Invalid file type. Allowed:")


def declared():
    for sent, type_, file_type, content in (
            ("a.txt", "text/html", "data_files", b"x"), ("a.txt", "image/png", "data_files", b"x"),
            ("a.json", "application/x-php", "data_files", b"{}"), ("a.png", "image/svg+xml",
                    "images", PNG),
            ("a.png", "image/jpeg", "images", PNG), ("a.pdf", "text/html", "documents", PDF),
            ("a.md", "application/javascript", "documents", b"x")):
        yield (f"{sent} declared as {type_}",
               file(sent, content, file_type, f"Content-Type: {type_}\r\n"), 400, "declared as")
    yield ("an octet stream",
           file("a.txt", more="Content-Type: application/octet-stream\r\n"), 200, "a.txt")
    yield ("a charset",
           file("a.txt", more="Content-Type: TEXT/plain; charset=utf-8\r\n"), 200, "a.txt")


def contents():
    for sent, file_type, content, why in (
            ("a.png", "images", b"x", "not PNG"), ("a.png", "images", b"", "not PNG"),
            ("a.png", "images", GIF, "image/gif"), ("a.png", "images", JPEG, "image/jpeg"),
            ("a.jpg", "images", PNG, "image/png"), ("a.gif", "images", PNG, "image/png"),
            ("a.png", "images", SVG, "image/svg+xml"), ("a.png", "images", ELF, "not PNG"),
            ("a.png", "images", b"<html><script>1</script>", "text/html"),
            ("a.jpg", "images", EXE, "not JPEG"), ("a.svg", "images", PNG, "image/png"),
            ("a.svg", "images", b"just text", "not SVG"),
            ("a.png", "images", PNG[:20], "cut off"), ("a.png", "images", PNG[:-1], "cut off"),
            ("a.gif", "images", GIF[:-1], "cut off"), ("a.jpg", "images", JPEG[:-2], "cut off"),
            ("a.png", "images", PNG + b"<?php 1", "behind its end"),
            ("a.gif", "images", GIF + b"/*<script>", "behind its end"),
            ("a.jpg", "images", JPEG + ELF, "behind its end"),
            ("a.jpg", "images", JPEG + JPEG, "behind its end"),
            ("a.png", "images", PNG + ZIP, "ZIP archive as well"),
            ("a.gif", "images", GIF + ZIP, "ZIP archive as well"),
            ("a.jpg", "images", JPEG + ZIP + JPEG[-2:], "ZIP archive as well"),
            ("a.png", "images", PNG[:-12] + ZIP_WITH_TWO_ENDS + PNG[-12:], "ZIP archive as well"),
            ("a.jpg", "images", JPEG[:-2] + ZIP_WITH_LONG_END + JPEG[-2:], "ZIP archive as well"),
            ("a.gif", "images", GIF[:-1] + b"!\xfe\x09%PDF-1.4\n\0;", "PDF as well"),
            ("a.jpg", "images", JPEG[:20] + b"\xff\xfe\0\x0b%PDF-1.4\n" + JPEG[20:],
             "PDF as well"),
            ("a.png", "images", png_of(0, 1), "tells no size"),
            ("a.png", "images", png_of(1, 0), "tells no size"),
            ("a.png", "images", png_of(100_000, 100_000), "pixels"),
            ("a.png", "images", png_of(2**32 - 1, 2**32 - 1), "pixels"),
            ("a.gif", "images", GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:], "pixels"),
            ("a.gif", "images", GIF[:6] + b"\0\0\0\0" + GIF[10:], "tells no size"),
            ("a.jpg", "images", b"\xff\xd8\xff\xe0\0\x01" + b"\xff\xd9", "tells no size"),
            ("a.jpg", "images", b"\xff\xd8" + b"\xff" * 5000 + b"\xff\xd9", "tells no size"),
            ("a.pdf", "documents", b"x", "not PDF"), ("a.pdf", "documents", b"\n" + PDF, "not PDF"),
            ("a.pdf", "documents", PDF + ZIP, "ZIP archive as well"),
            ("a.pdf", "documents", b"<html>" + PDF, "not PDF"),
            ("a.doc", "documents", DOCX, "not MS Word"), ("a.doc", "documents", b"{\\rtf1 x}",
                                                          "not MS Word"),
            ("a.docx", "documents", ZIP, "not DOCX"), ("a.docx", "documents", BOMB, "not DOCX"),
            ("a.docx", "documents", DOCX[:-10], "not DOCX"), ("a.docx", "documents", b"x",
                    "not DOCX"),
            ("a.docx", "documents", JAR, "not DOCX"),
            ("a.docx", "documents", DOCX + RAR, "not DOCX"),
            ("a.docx", "documents", commented(DOCX, SEVEN_ZIP), "not DOCX"),
            ("a.docx", "documents", archive("[Content_Types].xml", "word/document.xml",
                                            "META-INF/MANIFEST.MF", "Evil.class"), "not DOCX"),
            ("a.pdf", "documents", PDF_AND_TAR, "TAR archive as well"),
            ("a.pdf", "documents", PDF_AND_ISO, "ISO 9660 archive as well"),
            ("a.docx", "documents", archive("[Content_Types].xml", "xl/workbook.xml"), "not DOCX"),
            ("a.docx", "documents", archive("word/document.xml"), "not DOCX"),
            ("a.docx", "documents", archive(*WORD, content=b"\0" * 50_000_000), "a ZIP bomb"),
            ("a.docx", "documents", overlapping(2_000), "a ZIP bomb"),
            ("a.docx", "documents", archive(*WORD, "word/vbaProject.bin"), "not DOCX"),
            ("a.docx", "documents", archive(*WORD, "word/Evil.EXE"), "not DOCX"),
            ("a.docx", "documents", archive(*WORD, "AndroidManifest.xml", "classes.dex"),
             "not DOCX"),
            ("a.docx", "documents", archive(*WORD, "word/../../../etc/passwd"), "not DOCX"),
            ("a.docx", "documents", archive(*WORD, "/etc/passwd"), "not DOCX"),
            ("a.doc", "documents", DOC[:8], "not MS Word"),
            ("a.doc", "documents", DOC[:8] + b"\0" * 600, "not MS Word"),
            ("a.doc", "documents", DOC[:600], "not MS Word"),
            ("a.doc", "documents", ole("Workbook"), "not MS Word"),
            ("a.doc", "documents", DOC[:48] + b"\0\0\0\0" + DOC[52:], "not MS Word"),
            ("a.doc", "documents", DOC + ZIP, "ZIP archive as well"),
            ("a.doc", "documents", DOC + RAR, "RAR archive as well"),
            # Something else that has the tag in it.
            ("a.svg", "images", EXE + b"<svg>", "not SVG"),
            ("a.svg", "images", ELF + b"<svg>", "not SVG"),
            ("a.svg", "images", b"#!/bin/sh\nrm -rf / #<svg>", "not SVG"),
            ("a.svg", "images", b"\x1f\x8b\x08\0\0\0\0\0\0\x03<svg>", "not SVG"),
            ("a.svg", "images", PDF + b"<svg/>", "not SVG"),
            ("a.svg", "images", b"<!DOCTYPE html><html><svg></svg></html>", "not SVG"),
            ("a.svg", "images", b"<!DOCTYPE html><svg></svg>", "not SVG"),
            ("a.svg", "images", b"<html><svg/></html>", "not SVG"),
            ("a.svg", "images", b"<svgx/>", "not SVG"), ("a.svg", "images", b"<svg", "not SVG"),
            ("a.svg", "images", b"<!-- <svg/> --><x/>", "not SVG"),
            ("a.svg", "images", b"<!-- <svg/>", "not SVG"),
            ("a.svg", "images", b"<?xml <svg/>", "not SVG"),
            ("a.svg", "images", b"x<svg/>", "not SVG"), ("a.svg", "images", SVG + b"\0", "not SVG"),
            ("a.svg", "images", SVG + ZIP_BEYOND_ITS_END, "not SVG"),
            # Archives and programs within images, or behind them with the end mark once more.
            ("a.png", "images", PNG + SEVEN_ZIP + PNG[-12:], "7z archive as well"),
            ("a.png", "images", PNG + RAR + PNG[-12:], "RAR archive as well"),
            ("a.png", "images", PNG + ELF + PNG[-12:], "behind its end"),
            ("a.png", "images", PNG[:33] + b"NOT-A-CHUNK" * 9 + PNG[-12:], "cut off"),
            ("a.png", "images", PNG[:-12] + ZIP_BEYOND_ITS_END + PNG[-12:], "ZIP archive as well"),
            ("a.jpg", "images", JPEG + RAR + JPEG[-2:], "RAR archive as well"),
            ("a.jpg", "images", JPEG + SEVEN_ZIP + JPEG[-2:], "7z archive as well"),
            ("a.jpg", "images", JPEG + b"<script>1</script>" + JPEG[-2:], "behind its end"),
            ("a.jpg", "images", JPEG[:20] + b"\xff\xfe\0\x3c" + RAR + JPEG[20:],
             "RAR archive as well"),
            ("a.gif", "images", GIF + SEVEN_ZIP + b";", "7z archive as well"),
            ("a.gif", "images", GIF + ELF + b";", "behind its end"),
            ("a.gif", "images", GIF + ZIP_BEYOND_ITS_END + b";", "ZIP archive as well"),
            ("a.gif", "images", b"GIF89a/*\x01\x00*/=1;alert(1);", "cut off"),
            ("a.pdf", "documents", b"%PDF-1.4\n<html><script>", "cut off"),
            ("a.pdf", "documents", PDF + ZIP_BEYOND_ITS_END, "ZIP archive as well"),
            ("a.pdf", "documents", PDF[:9] + RAR + PDF[9:], "RAR archive as well"),
            ("a.pdf", "documents", PDF + SEVEN_ZIP, "7z archive as well"),
            ("a.txt", "data_files", b"text\n" + ZIP_BEYOND_ITS_END, "ZIP archive as well"),
            ("a.txt", "data_files", ZIP, "ZIP archive as well"),
            ("a.txt", "data_files", b"text" * 10 + ZIP, "ZIP archive as well"),
            ("a.csv", "data_files", BOMB, "ZIP archive as well"),
            ("a.log", "data_files", zlib.compress(b"\0" * 1000), "not text"),
            ("a.log", "data_files", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\1" * 9, "gzip"),
            ("a.txt", "data_files", TAR, "not text"), ("a.txt", "data_files", ELF, "not text"),
            ("a.txt", "data_files", EXE, "not text"), ("a.txt", "data_files", PNG, "not text"),
            ("a.csv", "data_files", b"a,b\n1,\0\n", "not text"),
            ("a.txt", "data_files", b"x" * 70_000 + b"\0", "not text"),
            ("a.txt", "data_files", b"<!DOCTYPE html><p>", "HTML"),
            ("a.log", "data_files", b"  \n<ScRiPt>alert(1)</script>", "HTML"),
            ("a.txt", "data_files", b"<!-- " + b"x" * 5_000 + b" --><HTML><script>", "HTML"),
            ("a.txt", "data_files", b"<!-- " + b"x" * 100_000 + b" --><html>", "HTML"),
            ("a.txt", "data_files", b" " * 5_000 + b"<html><script>", "HTML"),
            ("a.txt", "data_files", b'<?xml version="1.0"?><html xmlns="x"><script>', "HTML"),
            ("a.txt", "data_files", b"<img src=x onerror=alert(1)>", "HTML"),
            ("a.txt", "data_files", b"<!-- " + b"x" * 5_000 + b" -->" + SVG, "SVG"),
            ("a.txt", "data_files", PDF, "application/pdf, not text"),
            ("a.md", "documents", PDF, "application/pdf, not text"),
            ("a.txt", "data_files", b"%!PS-Adobe-3.0\n(x) show\n", "application/postscript"),
            ("a.log", "data_files", b"!<arch>\nx.o/            0           0     0     644     2"
             b"         `\nab", "application/x-archive"),
            ("a.txt", "data_files", b"{\\rtf1\\ansi x}", "text/rtf"),
            ("a.csv", "data_files", SVG, "SVG"),
            ("a.json", "agent_configs", b"<html></html>", "HTML"),
            ("a.yaml", "agent_configs", b"\x80\x04\x95" + b"\0" * 9, "not text"),
            ("a.json", "agent_configs", ZIP, "ZIP archive as well")):
        yield f"{sent} that is {content[:12]!r} ({why})", file(sent, content, file_type), 400, why
    for sent, file_type, content in (
            ("a.png", "images", PNG), ("a.jpg", "images", JPEG), ("a.jpeg", "images", JPEG),
            ("a.gif", "images", GIF), ("a.svg", "images", SVG),
            ("a.svg", "images", b'<?xml version="1.0"?><!-- c --><svg onload="alert(1)"/>'),
            ("a.svg", "images", SVG_WITH_MUCH_BEFORE_IT),
            ("a.gif", "images", GIF[:-1] + b"!\xfe\x03abc\0;"),
            ("a.jpg", "images", JPEG_WITH_ANOTHER), ("a.jpg", "images", JPEG_WITH_MUCH_BEFORE_IT),
            ("a.pdf", "documents", PDF), ("a.docx", "documents", DOCX), ("a.doc", "documents", DOC),
            ("a.docx", "documents", commented(DOCX, b"a comment")),
            ("a.docx", "documents", archive(*WORD, content=b"\0" * 8_000_000)),
            ("a.md", "documents", b"<h1>title</h1>\n# more"), ("a.txt", "data_files", b""),
            ("a.txt", "data_files", b"<b@example.org> wrote: 1 < 2"),
            ("a.txt", "data_files", b"<!-- no page -->\nnotes"),
            ("a.log", "data_files", b"<14>Jan  1 00:00:00 host app: begun\n"),
            ("a.txt", "data_files", b"#!/bin/sh\nrm -rf /"), ("a.csv", "data_files",
                    b"=cmd|'/C calc'!A0,1"),
            ("a.txt", "data_files", "\u202e\ufeffx".encode()),
            ("a.json", "data_files", b'{"a":' * 100_000), ("a.json", "agent_configs", b"{broken"),
            ("a.yaml", "agent_configs", b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]"),
            ("a.yaml", "agent_configs", b"- " * 10_000)):
        yield f"{sent} that is {content[:12]!r}", file(sent, content, file_type), 200, sent


def framing():
    good = part()
    yield ("no boundary in the type",
           form(good + END, "multipart/form-data"), 400, "boundary is missing")
    yield ("an empty boundary",
           form(good + END, "multipart/form-data; boundary="), 400, "boundary is missing")
    yield "a long boundary", form(good + END, FORM + "x" * 70), 400, "boundary is missing"
    yield ("an open quote",
           form(good + END, 'multipart/form-data; boundary="x'), 400, "boundary is missing")
    yield "another boundary", form(good + END, FORM + "x"), 400, "no boundary"
    yield "another case of it", form(good + END, FORM.upper()), 400, "no boundary"
    yield "a mixed body", form(good + END, f"multipart/mixed; boundary={B}"), 422, "Field required"
    yield "no form at all", form(b"{}", "application/json"), 422, "Field required"
    yield "no type", form(good + END, ""), 422, "Field required"
    yield "an empty body", form(b""), 400, "no boundary"
    yield "an empty form", form(END), 422, "Field required"
    yield "no last boundary", form(good), 400, "lacks its last boundary"
    yield "cut in the content", form(good[:-2]), 400, "lacks its last boundary"
    yield "cut in a header", form(good[:30]), 400, "header has no end"
    yield "cut in the boundary", form((good + END)[:-6]), 400, "lacks its last boundary"
    yield "one dash", form(good + END[:-3] + b"\r\n"), 400, "malformed boundary"
    yield "a longer line", form(good + b"--boundaryx\r\n"), 400, "malformed boundary"
    yield "bare line feeds", form((good + END).replace(b"\r\n", b"\n")), 400, "malformed boundary"
    yield ("a preamble and an epilogue",
           form(b"pre\r\n" + good + END + b"epi\r\n--boundary\r\n"), 200, "a.txt")
    yield ("white space behind boundaries",
           form(good.replace(b"--boundary", b"--boundary \t") + END), 200, "a.txt")
    yield ("a quoted boundary",
           form(good + END, f'multipart/form-data; boundary="{B}"'), 200, "a.txt")
    yield ("content like a boundary",
           form(part(content=b"--boundary\r\n--bound\r\n--") + END), 200, "a.txt")
    nested = part(more="Content-Type: multipart/mixed; boundary=c\r\n",
                  content=b"--c\r\n\r\nx\r\n--c--")
    yield "nested multipart", form(nested + END), 400, "multipart itself"
    yield ("base64",
           form(part(more="Content-Transfer-Encoding: base64\r\n") + END), 400, "transfer encoding")
    yield ("a long header",
           form(part(more="X: " + "y" * 9000 + "\r\n") + END), 400, "header has no end")
    yield "no colon", form(part(more="nonsense\r\n") + END), 400, "malformed header"
    yield "a folded header", form(part(more="X: a\r\n b\r\n") + END), 400, "malformed header"
    yield "a control in a header", form(part(more="X: \x01\r\n") + END), 400, "malformed header"
    yield "no header", form(b"--boundary\r\n\r\nx\r\n" + END), 400, "no name"
    yield "no disposition", form(b"--boundary\r\nX: y\r\n\r\nx\r\n" + END), 400, "no name"
    for shown, why in (("attachment; name=files", "not form-data"), ("form-data", "no name"),
                       ('form-data; name="files', "no name"), ("form-data; name=a; name=b",
                               "two names"),
                       ('form-data; name=files; filename=a.txt; filename="b.exe"',
                        "two file names"),
                       ("form-data; name=files; filename*=UTF-8''%zz", "malformed"),
                       ("form-data; name=files; filename*=utf-16''x.txt", "malformed"),
                       ("form-data; name=files; filename*=UTF-8''%00.txt", "control"),
                       ("form-data; name=files; filename*=UTF-8''%FF.txt", "not UTF-8"),
                       ("form-data; name=files; filename=a.txt; filename*=UTF-8''b.exe",
                        "not allowed")):
        yield f"disposition {shown}", form(part(raw_disposition=shown) + END), 400, why
    yield ("two dispositions",
           form(part(more='Content-Disposition: form-data; name="x"\r\n') + END),
           400, "two Content-Dispositions")
    yield ("an extended name", form(part(
        raw_disposition="form-data; name=files; filename=x;"
                        " filename*=utf-8'en'%e2%82%ac.txt") + END),
        200, "\u20ac.txt")
    yield "too many parts", form(part(name="x", filename=None) * 201 + END), 400, "too many parts"
    yield "too many files", form(good * 11 + END), 400, "Too many files. Maximum allowed: 10"
    yield "as many files as may be", form(good * 10 + END), 200, "a.txt"
    yield "a file as a field", form(part(name="tags", filename="a.exe",
                                         content=b"t") + good + END), 200, "a.txt"
    yield "files without a name", form(part(filename=None) + END), 422, "Field required"
    yield "files of another name", form(part(name="file") + END), 422, "Field required"
    yield ("a file that is too large",
           form(part(content=b"x" * 3_000_001) + END), 400, "file too large")
    yield "one bad among good", form(good + part(filename="b.exe") + END), 400, "'b.exe'"
    yield ("one bad at the end",
           form(good * 9 + part(filename="b.csv", content=b"\0") + END), 400, "'b.csv'")


def fields():
    def with_field(name, content):
        return form(part(name=name, filename=None, content=content) + part() + END)
    for content, why in ((b"{", "Invalid metadata: line 1"), (b"[]", "Invalid metadata"),
                         (b"1", "Invalid metadata"), (b'{"a":1,"a":2}', "given twice"),
                         (b"\xff", "Invalid metadata"), (b'{"a":1e999}', "Invalid metadata"),
                         (b'{"a":99999999999999999999}', "Invalid metadata"),
                         (b'{"a":' * 100 + b"1" + b"}" * 100, "Invalid metadata"),
                         (b"{" + b" " * 70_000 + b"}", "longer than")):
        yield f"metadata {content[:20]!r}", with_field("metadata", content), 400, why
    for content, why in ((b"\xff", "Invalid tags"), (b"a\0b", "Invalid tags"),
                         (b"x" * 101, "Invalid tags"),
                         (b",".join(b"t%d" % i for i in range(101)), "Invalid tags")):
        yield f"tags {content[:20]!r}", with_field("tags", content), 400, why
    empty = part(name="tags", filename=None, content=b"")
    empty += part(name="metadata", filename=None, content=b"")
    yield "empty fields", form(empty + part() + END), 200, "a.txt"
    yield "only commas", with_field("tags", b", ,,"), 200, "a.txt"
    late = part(name="tags", filename=None, content=b"late")
    yield "fields behind the file", form(part() + late + END), 200, "a.txt"


def corpus():
    for group in (names, extensions, declared, contents, framing, fields):
        yield from group()
