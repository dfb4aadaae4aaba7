"""JSON texts with verdicts: `GOOD` is JSON by RFC 8259, `BAD` is not.

`AGAINST_OUR_RULES` is JSON that two readers may understand differently, so it is rejected as well.
"""

GOOD: tuple[bytes, ...] = (
    # one value of each kind, as the whole text
    b"null", b"true", b"false", b"0", b"-0", b"7", b'""', b'"a"', b"[]", b"{}",
    # white space: the four characters, anywhere between tokens
    b" \t\r\n1 \t\r\n", b"[ 1\t,\r2\n]", b'{ "a"\t:\r1\n,"b" : 2 }', b"[\n[\n]\n]", b" {} ", b"\n\n\nnull",
    # numbers
    b"10", b"-10", b"1.0", b"-1.0", b"0.5", b"0.0", b"-0.0", b"1e3", b"1E3", b"1e+3", b"1e-3", b"1.5e10", b"-1.5E-10",
    b"0e0", b"0e+1", b"0E-1", b"123456789012345678", b"-9223372036854775808", b"9223372036854775807", b"1e308",
    b"2.2250738585072014e-308", b"5e-324", b"1e-400", b"0.1", b"3.141592653589793", b"20e1", b"1.000", b"100e-2",
    # strings
    b'"\\""', b'"\\\\"', b'"\\/"', b'"/"', b'"\\b\\f\\n\\r\\t"', b'"\\u0000"', b'"\\u001f"', b'"\\u0022"',
    b'"\\u005C"', b'"\\u00e9"', b'"\\u00E9"', b'"\\uABCD"', b'"\\uabcd"', b'"\\ud83d\\ude00"', b'"\\uD83D\\uDE00"',
    b'"\\uDBFF\\uDFFF"', b'"\\uffff"', b'"\\ufdd0"', b'"\\u2028\\u2029"', b'"\\u200b"', b'"\x7f"', b'"a b"',
    b'"{[,:]}"', b'"// no comment"', "\"é\"".encode(), "\"€\"".encode(), "\"😀\"".encode(), "\"\u2028\"".encode(),
    "\"\ufeff\"".encode(), "\"\uffff\"".encode(), "\"\U0010ffff\"".encode(), "\"\u202e\"".encode(), b'"NaN"',
    b'"null"', b'"\\u0041\\u030a"',
    # arrays
    b"[1]", b"[1,2,3]", b"[null,true,false]", b'["a","a"]', b"[[]]", b"[[],[]]", b"[{}]", b'[1,"a",[2,{"b":3}]]',
    b"[0]", b"[-1.5e2]", b"[[[[[[[[]]]]]]]]", b"[1,1,1,1]", b'[""]', b"[ ]",
    # objects
    b'{"":0}', b'{"a":1}', b'{"a":1,"b":2}', b'{"a":{"a":{"a":1}}}', b'{"a":[],"b":{}}', b'{"A":1,"a":2}',
    b'{"a ":1,"a":2}', b'{"\\u0000":1}', b'{"__proto__":1}', b'{"constructor":{"prototype":1}}', b'{"1":1,"01":2}',
    "{\"é\":1,\"e\u0301\":2}".encode(), b'{"a":null}', b'{"a":"b","c":"b"}', b'{ }', b'{"\\"":1}', b'{"a\\nb":1}',
    b'{"nodes":[{"container_name":"a","image":""}],"name":"x"}',
)  # fmt: skip

BAD: tuple[bytes, ...] = (
    # no value, or more than one
    b"", b" ", b"\n", b"1 2", b"[] []", b"{}{}", b"{} x", b"null null", b"1,", b",1", b"[1]]", b"{}}", b'"a" "b"',
    b"[]]", b"true false", b"{},{}", b"1\x00", b"\x00", b"[]\x00", b"]", b"}", b":", b",",
    # literals
    b"nul", b"NULL", b"Null", b"True", b"TRUE", b"tru", b"fals", b"False", b"none", b"None", b"undefined", b"nullx",
    b"truefalse", b"yes", b"[nul]", b"[tru]", b"[fals]", b"n", b"a", b"*", b"@",
    # numbers
    b"01", b"-01", b"00", b"-", b"+1", b"+0", b".5", b"-.5", b"5.", b"-5.", b"1.e3", b"1e", b"1e+", b"1E-", b"1e1.5",
    b"0x10", b"0b1", b"0o7", b"1_000", b"1,000", b"1 000", b"--1", b"-+1", b"1-1", b"1+1", b"1.2.3", b"1ee2", b"e1",
    b"1f", b"1L", b"0.e1", b"2.e+3", b"- 1", b"-a", b"1.5a", b"9.e+", b"[-]", b"[-2.]", b"[.1]", b"[0e]", b"[1eE2]",
    b"[0.3e+]", b"[012]", b"[-012]", b"[1a]", b"[1 000]", b"1e\xd9\xa1", b"\xef\xbc\x91", b"-\xe2\x88\x9e",
    b"\xc2\xbd",
    # numbers for JavaScript and Python only
    b"NaN", b"-NaN", b"+NaN", b"nan", b"Infinity", b"-Infinity", b"+Infinity", b"infinity", b"Inf", b"-Inf", b"[NaN]",
    b"[-Infinity]", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b"[1,NaN]",
    # strings
    b'"', b'"a', b'a"', b"'a'", b"`a`", b'"\\"', b'"\\\\\\"', b'"\\x41"', b'"\\0"', b'"\\a"', b'"\\v"', b'"\\\'"',
    b'"\\u"', b'"\\u1"', b'"\\u12"', b'"\\u123"', b'"\\u12g4"', b'"\\U0041"', b'"\\u{41}"', b'"\\u 041"', b'"\\u+041"',
    b'"\\u-041"', b'"\\u0x41"', b'"\\ "', b'"\\\n"', b'"a\nb"', b'"a\rb"', b'"a\tb"', b'"\x00"', b'"\x01"', b'"\x1f"',
    b'"\x0b"', b'"\x08"', b'"a" b', b'"a""b"', b'"a"+"b"', b"\\u0022a\\u0022", b'\\"a\\"', b'"\\u00\xc3\xa9"', b"abc",
    b'"a\\', b'["a', b'["', b'["\\', b'["\\u', b'["\\u00', b'["a\n"]',
    # arrays
    b"[", b"[1", b"[1,", b"[,", b"[,1]", b"[1,]", b"[1,,2]", b"[,]", b"[1 2]", b"[1;2]", b"[1:2]", b"[1}", b"{1]",
    b"[[]", b"[1,2", b"[\"a\",", b"[,\"\"]", b"[\"\",]", b"[1,\n1", b"[*]", b"[...]", b"(1)", b"[1,(2)]", b"[<null>]",
    b"[\x0b]",
    # objects
    b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{,"a":1}', b'{"a"}', b'{"a",1}', b'{"a":}', b'{:1}',
    b'{"a"::1}', b'{"a":1 "b":2}', b'{"a":1;"b":2}', b'{"a":1,,"b":2}', b"{a:1}", b"{'a':1}", b"{1:1}", b"{null:1}",
    b"{[]:1}", b"{{}:1}", b'{"a":1]', b'{"a" 1}', b'{"a":1 2}', b'{"a"=1}', b'{"a"=>1}', b'{"a":1}}', b"{,}", b"{:}",
    b'{"a":"b",:}', b'{"a":1,"b"}', b'{"a":"a" 123}', b"{*:1}", b"{true:1}", b"{\"a\":1}#", b"{\"a\":1};",
    b'{"a":tru}',
    # comments and other dialects
    b"// c\n1", b"1 // c", b"/* c */ 1", b"1 /* c */", b"[1,/**/2]", b"# c\n1", b"1 # c", b"{/**/}", b"<!-- c -->1",
    b"--- \n1", b"a: 1", b"[1,2,]", b'{"a":0x1}', b"{\"a\":+1}", b"{a:'b'}", b"callback({})", b"({})", b"{}//",
    b")]}',\n{}",
    # encodings, and characters that JSON does not count as white space
    b"\xef\xbb\xbf1", b"\xef\xbb\xbf{}", b"\xfe\xff\x00{\x00}", b"\xff\xfe{\x00}\x00",
    b"\xff\xfe\x00\x00{\x00\x00\x00", b"\x00{\x00}", b'"\xff"', b'"\xfe"', b'"\x80"', b'"\xc3"', b'"\xc3("',
    b'"\xe2\x82"', b'"\xf0\x9f\x98"', b'"\xc0\x80"', b'"\xc1\xbf"', b'"\xc0\xaf"', b'"\xe0\x80\x80"',
    b'"\xf0\x80\x80\x80"', b'"\xf4\x90\x80\x80"', b'"\xf5\x80\x80\x80"', b'"\xed\xa0\x80"', b'"\xed\xbf\xbf"',
    b'"\xed\xa0\xbd\xed\xb8\x80"', b'"\xfc\x83\xbf\xbf\xbf\xbf"', b'"\xe9"', b"\xa0", b"\xc2\xa01", b"\xe2\x80\x831",
    b"\xe3\x80\x801", b"\xe2\x80\xa81", b"[\x0c]", b"\x0c1", b"\x0b1", b"\x851", b"\x1c1", b"[\xe2\x81\xa0]",
    b"1\xe2\x80\x8b", b"\x7f", b"+AFs-+AF0-",
)  # fmt: skip

AGAINST_OUR_RULES: tuple[bytes, ...] = (
    # a key twice: readers keep the first, the last, or both
    b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'{"a":1,"b":2,"a":3}', b'{"":1,"":2}', b'{"a":1,"\\u0061":2}',
    b'[{"a":{},"a":[]}]', b'{"x":{"a":1,"b":{"c":1,"c":1}}}', '{"é":1,"\\u00e9":2}'.encode(), b'{"\\/":1,"/":2}',
    b'{"a":null,"a":null}',
    # half of a surrogate pair: neither valid text nor UTF-8
    b'"\\ud800"', b'"\\udbff"', b'"\\udc00"', b'"\\udfff"', b'"\\ude00\\ud83d"', b'"\\ud800\\ud800"', b'"\\ud83d\\n"',
    b'"\\ud83dx"', b'{"\\ud800":1}', b'["a","\\uDEAD"]', b'"\\ud800\\u0041"', b'"\\uD800\\\\uDC00"',
    # numbers that no double can hold, or too long to convert quickly
    b"1e309", b"-1e309", b"1e400", b"1e999999", b"-1E+400", b"[1e1000]", b'{"a":1e400}', b"1" * 301, b"-" + b"1" * 300,
    b"0." + b"1" * 300, b"1e" + b"0" * 300, b"9" * 5000, b"1" * 100_000, b"1." + b"0" * 400 + b"1",
    # deeper than 32
    b"[" * 33 + b"]" * 33, b'{"a":' * 33 + b"1" + b"}" * 33, b'[{"a":' * 17 + b"1" + b"}]" * 17,
    b"[" * 900 + b"]" * 900, b"[" * 40_000 + b"]" * 40_000, b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    b"[0," * 20_000 + b"0" + b"]" * 20_000,
    # longer than a string may be
    b'"' + b"a" * 4097 + b'"', b'{"' + b"a" * 4097 + b'":1}', '"{}"'.format("é" * 2049).encode(),
    b'["", "' + b"a" * 9999 + b'"]',
    # more values than any blueprint has
    b"[" + b"0," * 60_000 + b"0]", b"[" + b"[]," * 40_000 + b"0]", b'"' + b"," * 60_000 + b'"',
)  # fmt: skip
