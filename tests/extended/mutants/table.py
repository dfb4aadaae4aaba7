"""Every guard, and a way to break it: a text that is in its file exactly once, and the text that replaces it.

When a guard's code changes, change its row as well. A row whose text is not in the file exactly once is an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass

ADAPTERS, DOMAIN, UNIT = "worker/adapters", "worker/domain", "tests/unit"
LEAKS, KAFKA_SECURITY = "tests/component/leaks", "tests/component/kafka_security"
LOG, SHOWN, COMMANDS, REQUESTS = (f"{LEAKS}/test_{name}.py" for name in ("log", "shown", "commands", "requests"))
BUNDLE = f"{UNIT}/domain/bundle/test_archive.py"
SCRIPT, SCRIPT_TESTS = "worker/ontarget/kubernetes-client-script.py", f"{UNIT}/ontarget/test_script"

WATCH = "tests/component/adapters/kafka/test_topics_watch.py"
AGAIN, PARTITION = f"{UNIT}/test_deploy_again.py", f"{UNIT}/domain/test_partition_state.py"
LIMITS, ANSWERS = f"{UNIT}/refusals/test_limits.py", "tests/component/bounds/test_answers.py"

Row = tuple[str, str, str] | tuple[str, str, str, str]
"""The guard, its text, the broken text, and the tests if they are others than those of the file."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One guard, broken. `tests` are files or node ids, separated by spaces; only they are run."""

    guard: str
    file: str
    old: str
    new: str
    tests: str


# File and the tests that look at it → the guards in it.
ROWS: dict[tuple[str, str], tuple[Row, ...]] = {
    (f"{DOMAIN}/bundle/protobuf.py", f"{UNIT}/domain/bundle/test_protobuf.py"): (
        ("protobuf: NUL", 'if "\\0" in text:', 'if "\\1" in text:'),
        ("protobuf: words end", "if terminal.pattern.value.isalpha():", "if False:"),
        ("protobuf: depth", "if depth > MAX_DEPTH:", "if False:"),
        ("protobuf: imports are shipped", "if name not in _SHIPPED and", "if False and"),
        ("protobuf: kept numbers", " or field.number in _KEPT_NUMBERS", ""),
        ("protobuf: reserved names", "if field.name in kept or _holds(", "if _holds("),
        ("protobuf: options of others", "if step.is_extension and (found is None or", "if False and (found is None or"),
        ("protobuf: aliases", "!= enum.options.HasField", "> 2 and enum.options.HasField"),
        ("protobuf: allow_alias is true", "and not enum.options.allow_alias", "and False"),
        ("protobuf: line ends", 'split("\\r\\n?|\\n"', 'split("\\n"'),
        ("protobuf: maps' entries", "if found.is_map_entry and", "if False and"),
        ("protobuf: lazy enums", "if _is_lazy(field):", "if False:"),
        ("protobuf: numbers of extensions", " or not within:", ":\n            pass\n        if within is None:"),
        ("protobuf: kept numbers of extensions", " or number in _KEPT_NUMBERS or", " or"),
        ("protobuf: editions", "if edition not in EDITIONS:", "if edition in ():"),
        ("protobuf: labels of proto2", "            if not label:\n", "            if False:\n"),
        ("protobuf: the hint at the first line", 'if self._nodes[0].data == "syntax" else', "if True else"),
        (
            "protobuf: groups",
            "if self.syntax != PROTO2:\n            self._refuse",
            "if False:\n            self._refuse",
        ),
        (
            "protobuf: packed messages",
            "TYPE_MESSAGE\n        if field.options.packed:",
            "TYPE_MESSAGE\n        if False:",
        ),
        (
            "protobuf: defaults of enums",
            'if field.HasField("default_value") and field.default_value not in',
            "if field.default_value in",
        ),
        ("protobuf: closed enums", "if found.is_closed and", "if False and"),
        ("protobuf: option imports", 'if (kind == "option" and', 'if (kind == "" and'),
        ("protobuf: map_entry", 'if message.options.HasField("map_entry"):', "if False:"),
        ("protobuf: message sets", "        if message.field:\n", "        if False:\n"),
        ("protobuf: escapes", 'if "\\\\" in token and', "if False and"),
        ("protobuf: options are UTF-8", "if isinstance(given, str) and", "if False and"),
        ("protobuf: parts of a package", "if len(node.children) > MAX_PACKAGE:", "if False:"),
        ("protobuf: lite files", "if message.is_shipped and self._is_lite:", "if False:"),
        ("protobuf: features", "            if not self._is_edition:\n", "            if False:\n"),
        ("protobuf: values make another message", "aggregate_value=values.canonical(given)", 'aggregate_value=""'),
    ),
    (f"{DOMAIN}/bundle/protobuf_options.py", f"{UNIT}/domain/bundle/test_protobuf.py"): (
        ("protobuf options: once", "if path in self._set and", "if False and"),
        ("protobuf options: targets", "return not targets or self._target in targets", "return True"),
        ("protobuf options: of this message", "or extended.full_name != inside.full_name:", "or False:"),
        (
            "protobuf options: single messages",
            "if inside is None or (fields and fields[-1].is_repeated):",
            "if inside is None:",
        ),
        ("protobuf options: unsigned", "return fits and not (self.is_negative and kind in _UNSIGNED)", "return fits"),
        ("protobuf options: types", "    if not fits:\n", "    if False:\n"),
        ("protobuf options: depth", "if _depth(text) > MAX_AGGREGATE_DEPTH:", "if False:"),
        ("protobuf options: defaults", "    if value.kind not in kinds:\n", "    if False:\n"),
        (
            "protobuf options: feature_support",
            'return "its feature_support contradicts itself" if wrong else None',
            "return None",
        ),
        ("protobuf options: declarations", "            if wrong:\n", "            if False:\n"),
        ("protobuf options: announced", "options.verification == options.DECLARATION:", "False:"),
    ),
    (f"{DOMAIN}/bundle/protobuf_names.py", f"{UNIT}/domain/bundle/test_protobuf.py"): (
        ("protobuf: names once", "if kind == known.kind == PACKAGE:", "if True:"),
        (
            "protobuf: the innermost scope decides",
            "                return found.descend(rest)",
            "                if it := found.descend(rest): return it",
        ),
        ("protobuf: types alone", "if found.kind in _TYPES or not types_only:", "if True:"),
        ("protobuf: imports of imports", "return found if found and found.is_visible else None", "return found"),
        ("protobuf: names in JSON", "if name in given and not is_lax:", "if False:"),
        (
            "protobuf: names in JSON that are set",
            "if name in used and (is_set and used[name] if is_lax else is_set or used[name]):",
            "if False:",
        ),
        ("protobuf: an enum's name does not count", "!= value.number:", "== -1:"),
    ),
    (f"{DOMAIN}/bundle/protobuf_names.py", "tests/component/bounds/test_protobufs.py"): (
        ("protobuf: long names", "if len(full) > MAX_NAME:", "if len(full) > 1 << 30:"),
    ),
    (f"{DOMAIN}/bundle/plan.py", f"{UNIT}/test_build_protobufs.py"): (
        ("protobufs: one name, one content", "if known != digest:", "if False:"),
        ("protobufs: in its package", "(protobuf.package, name), (digest", '("", name), (digest'),
        ("protobufs: names of packages", "if package != protobuf.package and", "if False and"),
        ("protobufs: enums", "    yield from protobuf.enums.items()\n", ""),
        ("protobufs: a service", "if first is None:", "if first is None and False:"),
        ("protobufs: at the beginning of a line", "elif protobuf.called is None:", "elif False:"),
        ("protobufs: operations", "if rpc is None:", "if rpc is None and False:"),
        ("protobufs: messages", "elif (rpc.request, rpc.response) != wanted:", "elif False:"),
        ("protobufs: streams", "!= rpc.streams:", "== 3:"),
    ),
    ("worker/build.py", f"{UNIT}/test_build_kept.py"): (
        ("kept bundles: of these protobufs", "if built and built.protos == protos:", "if built:"),
        (
            "kept bundles: of this solution",
            "self._built.get((solution, blueprint))",
            "next(iter(self._built.values()), None)",
        ),
        ("kept bundles: the plan without warnings", "built.planned if built", "built.plan if built"),
        ("kept bundles: no large one", "if built.size() <= MAX_BUILT / 8:", "if True:"),
        (
            "kept bundles: bounded",
            "LRUCache(MAX_BUILT, getsizeof=Built.size)",
            "LRUCache(1 << 40, getsizeof=Built.size)",
        ),
        ("kept bundles: access", "                await access\n            finally:", "            finally:"),
    ),
    ("worker/build.py", f"{UNIT}/test_build_unproven.py"): (
        ("protobufs: the access before a file's error", "                    await access  #", "                    #"),
        (
            "unproven: no blueprint",
            "if isinstance(data, Unproven) and not is_blueprint(data) else error",
            "if False else error",
        ),
        ("unproven: a blueprint ends at once", " and not is_blueprint(data) else error", " else error"),
        ("unproven: no protobuf", "            if isinstance(data, Unproven):\n", "            if False:\n"),
        ("unproven: the beginning of a protobuf", "and not found.services:", "and False:"),
    ),
    ("worker/build.py", f"{UNIT}/test_build_protobufs.py"): (
        ("protobufs: a small one waits for none", "self._locks[_is_quick(data)]", "self._locks[True]"),
        ("protobufs: small in bytes", "len(data) <= QUICK_BYTES and", ""),
        (
            "protobufs: small in marks",
            "len(data) <= QUICK_BYTES and sum(map(data.count, MARKS)) <= QUICK_MARKS",
            "len(data) <= QUICK_BYTES",
        ),
        ("protobufs: read once", "if digest not in self._known:  #", "if True:  #"),
        ("protobufs: what is known is bounded", "            MAX_KNOWN, getsizeof", "            1 << 40, getsizeof"),
        ("protobufs: bytes", "if left < 0 or marks < 0:", "if marks < 0:"),
        ("protobufs: marks", "if left < 0 or marks < 0:", "if left < 0:"),
        ("protobufs: whose they are", "                await access\n            finally:", "            finally:"),
        ("protobufs: shared files count once", "not in counted:", "not in ():"),
        (
            "protobufs: of a pipeline",
            "elif plan.kind is Kind.PIPELINE:\n                raise",
            "elif True:\n                raise",
        ),
    ),
    ("worker/adapters/kafka/clients.py", f"{UNIT}/adapters/kafka/test_clients.py"): (
        ("clients: a cancellation is not lost", "task.cancelling() > cancelled", "False"),
        ("clients: another's cancellation is not ours", "task.cancelling() > cancelled", "task.cancelling()"),
        ("clients: a late stop is told", "return not limit.expired()", "return True"),
        (
            "clients: nothing is read beyond the end",
            "if record.offset < ends[tp]:",
            "if True:",
            "tests/component/adapters/kafka/test_partition_store.py",
        ),
        ("clients: a record that never comes", "async with asyncio.timeout(FETCH_SECONDS):", "if True:"),
        (
            "clients: every process reads within bounds",
            "fetcher.MemoryRecords = Batches",
            "_ = fetcher, Batches",
            f"{UNIT}/delivery/test_batches.py tests/component/adapters/kafka/test_readers.py",
        ),
    ),
    ("worker/adapters/kafka/settlements.py", f"{UNIT}/adapters/kafka/test_settlements.py"): (
        (
            "settlements: a record that fails stops none",
            "except Exception as error:  # noqa: BLE001 - a record",
            "except KafkaError as error:  # a record",
        ),
        ("settlements: what failed is passed", "positions[tp.partition] = record.offset + 1", "pass"),
    ),
    ("worker/delivery/partition.py", f"{UNIT}/delivery/test_take_over.py"): (
        ("take-over: pauses grow", "2**self._failures, MAX", "2**0, MAX"),
        ("take-over: an assignment ends the pause", "(pause, assigned), return_when", "(pause,), return_when"),
        (
            "take-over: pauses are bounded",
            "min(RESTART_SECONDS * 2**self._failures, MAX_RESTART_SECONDS)",
            "RESTART_SECONDS * 2**self._failures",
        ),
    ),
    ("worker/delivery/consumer.py", f"{UNIT}/delivery/test_batches.py"): (
        ("batches: any header name is read", "except UnicodeDecodeError:", "except ZeroDivisionError:"),
        ("batches: gzip has a bound", "unpacker.decompress(packed, MAX_UNPACKED + 1)", "unpacker.decompress(packed)"),
        (
            "batches: one gzip member",
            "(not unpacker.eof or unpacker.unused_data)",
            "not unpacker.eof",
            "tests/component/bounds/test_cpu.py",
        ),
        (
            "batches: snappy has a bound",
            "if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > MAX_UNPACKED:",
            "if False:",
        ),
        ("batches: lz4 and zstd have a bound", "room = bytearray(MAX_UNPACKED)", "room = bytearray(1 << 30)"),
        ("batches: size of a record", "if length > Message.MAX_BYTES:", "if False:"),
        ("batches: headers of a record", "if count > MAX_HEADERS:", "if False:"),
        (
            "poll loop: others run between two polls",
            "            await asyncio.sleep(0)  # getmany",
            "            # getmany",
            f"{UNIT}/delivery/test_polling.py",
        ),
        ("batches: every place is told", "while place < self._batch.next_offset:", "while False:"),
        ("batches: nothing is read beyond the end", "if end > len(data):", "if False:"),
    ),
    ("worker/domain/request.py", f"{UNIT}/refusals/test_records.py"): (
        ("headers of a record that is not packed", "if len(self.headers) > MAX_HEADERS:", "if False:"),
        (
            "limit: values of a record",
            "max_values=MAX_VALUES",
            "max_values=1 << 40",
            "tests/component/bounds/test_cpu.py",
        ),
    ),
    (f"{ADAPTERS}/kafka/partition_store.py", "tests/component/adapters/kafka/test_partition_store.py"): (
        (
            "skew: measured before a take-over",
            "                await self._measure_skew(producer, partition)\n",
            "",
            f"{WATCH}::test_a_worker_whose_clock_is_ahead_waits_for_another_s_post",
        ),
        (
            "skew: deadlines by the brokers' time",
            "timedelta(seconds=_Skew.last))",
            "timedelta())",
            f"{UNIT}/delivery/test_take_over.py",
        ),
        (
            "skew: very slow answers say nothing",
            "if answered - sent > ANSWER_SECONDS:",
            "if False:",
            f"{UNIT}/delivery/test_take_over.py",
        ),
        (
            "skew: slow answers say less",
            "min(max(_Skew.last, sent - broker - 0.001), answered - broker)",
            "answered - broker",
            f"{UNIT}/delivery/test_take_over.py",
        ),
        ("replays: within a minute", "<= ReplayPermitted.SECONDS else None", "<= 1 << 40 else None"),
        (
            "replays: permits are read seldom",
            "while permits.read_at < asked or appended_at not in permits.covers:",
            "while permits.read_at < time.monotonic() - 0.001:",
        ),
        ("replays: by the brokers' time", "min(wanted), max(wanted))", "time.time() - 600, time.time())"),
        ("replays: all that wait are read at once", "permits.wanted | {appended_at})", "{appended_at})"),
        ("replays: permits are read no further", "end = min(end, behind.offset) if behind else end", "_ = behind"),
        (
            "delivery: one transactional id per partition",
            'transactional_id=f"{transactional_id_prefix(self._kafka)}{partition}"',
            "transactional_id=f\"{self._kafka.group_id}.{id(object())}.{__import__('time').time_ns()}\"",
        ),
        (
            "delivery: the offset in the transaction",
            "if checkpoint is not None:\n                offsets",
            "if False:\n                offsets",
        ),
        (
            "delivery: the ownership",
            "await self._commit_as_member(requests, checkpoint)",
            "pass",
        ),
        (
            "checkpoint: what is verified keeps it",
            "[(requests.partition, checkpoint.offset, checkpoint.metadata)]",
            '[(requests.partition, checkpoint.offset, "")]',
        ),
        (
            "checkpoint: the parked ones before it are read",
            "read_some(reader, status, checkpoint.parked, READ_SECONDS)",
            "read_some(reader, status, (), READ_SECONDS)",
        ),
        (
            "checkpoint: nothing before it is read",
            "reader.seek(status, table.read_from)",
            "reader.seek(status, first)",
        ),
    ),
    ("worker/delivery/partition.py", f"{UNIT}/test_deploy_again.py"): (
        (
            "replays: an operator says so",
            "return await processor.context.store.permitted(processor.partition, request.id, self.record.appended_at)",
            'return getattr(processor.state.requests.find(request.replay_of), "fingerprint", None)',
        ),
        ("accepted: only this very record", " and at <= self.state.since.timestamp()", ""),
        ("accepted: by the broker's time", "at is not None and at <=", "(at or 0) <="),
        ("accepted: not judged again", "return self.state.last is not None and at", "return False and at"),
    ),
    ("worker/domain/dead_letter.py", f"{UNIT}/domain/test_replay.py"): (
        ("replays: nobody can know their ids", "sha256(self.nonce.encode())", "sha256(self.original.encode())"),
    ),
    (f"{ADAPTERS}/kafka/topics.py", "tests/component/adapters/kafka/test_topics.py"): (
        ("topics: what bounds a record stays verified", "if found.get(name) != wanted]", "if not found]"),
    ),
    (f"{DOMAIN}/bundle/plan.py", f"{UNIT}/domain/bundle/test_names.py"): (
        ("name: hash of the original", "sha256(original.encode(", "sha256(words.encode("),
        ("name: room for webuiingress", "63 - len(WEBUI_INGRESS)", "63"),
        ("name: a letter first", "if not words[:1].isalpha():", "if not words:"),
        ("name: orchestrator in any case", "original.lower() == ORCH", "original == ORCH"),
        ("name: room for the namespace's end", "63 - 33", "63"),
        (
            "name: names of the cluster",
            "if any(map(_patterns(reserved).fullmatch, namespaces)):",
            "if False:",
        ),
        ("name: names of the operator", 'f"{SYSTEM_NAMESPACES},{reserved}"', "SYSTEM_NAMESPACES"),
        (
            "name: names of the cluster in any setting",
            'f"{SYSTEM_NAMESPACES},{reserved}"',
            "(reserved or SYSTEM_NAMESPACES)",
        ),
        ("name: with the server's ending", 'for ending in ("", "-" + "0" * 32)', 'for ending in ("",)'),
        ("name: no device of Windows", " and not _DEVICE.fullmatch(original)", ""),
    ),
    (f"{DOMAIN}/bundle/plan.py", BUNDLE): (
        (
            "orchestrator: ready when it listens",
            "ORCHESTRATOR_SERVICE_PORT, dialled=True)",
            "ORCHESTRATOR_SERVICE_PORT)",
        ),
    ),
    (f"{DOMAIN}/bundle/plan.py", f"{UNIT}/domain/bundle/test_blueprint.py"): (
        ("name: collisions", "if wanted in owners:", "if False:"),
        ("name: collisions with web pages", "(taken, name), (taken, name + WEBUI)", "(taken, name)"),
    ),
    (f"{DOMAIN}/bundle/blueprint.py", f"{UNIT}/domain/bundle/test_blueprint.py"): (
        ("folders: of the system", "if _SYSTEM.fullmatch(path):", "if False:"),
        ("folders: of interpreters", "|/(opt|root|home/[^/]+)/({_INTERPRETERS})(/.*)?", ""),
        ("folders: whole homes", "|/(opt|root|home)|", "|"),
        ("folders: shared by programs", "|/usr/share(", "|/none("),
        ("folders: of Nix", "|var/run|nix)", "|var/run)"),
        ("folders: how many", "if len(folders) > max_shared_folders:", "if False:"),
        ("streams: null", "parent[key] = given in", "parent[key] = None if given is None else given in"),
        (
            "limit: blueprint's bytes",
            "max_bytes=MAX_BYTES)\n    except strict_json.JsonError as",
            "max_bytes=1 << 40)\n    except strict_json.JsonError as",
            LIMITS,
        ),
        ("limit: nodes", "> max_nodes:", "> 1 << 40:"),
        ("shared folder: edges to it go", " or to_folder)", ")"),
        ("shared folder: mountVolume goes", " or _is_mount_volume(item)", ""),
        ("shared folder: no dots in its path", ' or {".", ".."} & set(path.split("/"))', ""),
    ),
    (f"{DOMAIN}/bundle/blueprint.py", f"{UNIT}/domain/bundle/test_images.py"): (
        ("image: no scheme", "    if separator:", "    if False:"),
        (
            "image: the whole reference",
            "_REFERENCE.fullmatch(_with_registry(image))",
            "_REFERENCE.match(_with_registry(image))",
        ),
    ),
    (
        f"{DOMAIN}/bundle/manifests.py",
        f"{UNIT}/domain/bundle/test_archive.py::test_the_orchestrator_is_ready_when_it_listens",
    ): (
        (
            "bundle: the orchestrator ends soon",
            'if container.component == "orchestrator" else None',
            "if False else None",
        ),
    ),
    (
        "worker/ontarget/orchestrator_client/orchestrator_client.py",
        f"{UNIT}/ontarget/test_orchestrator_client.py::test_a_port_that_leads_nowhere_yet",
    ): (("client: a port that leads nowhere yet", "CONNECT_SECONDS = 10", "CONNECT_SECONDS = 0"),),
    (f"{DOMAIN}/bundle/manifests.py", f"{UNIT}/domain/bundle/test_yaml.py"): (
        ("YAML: words of YAML 1.1", " and value.lower() not in _WORDS", ""),
        ("YAML: escapes", "[\\x7f-\\xa0\\u2028\\u2029\\ufeff\\ufffe\\uffff]", "[\\ufffe\\uffff]"),
        ("YAML: no digit first", 're.compile(r"[A-Za-z/]', 're.compile(r"[A-Za-z0-9/]'),
        ("YAML: plain to the end", "_PLAIN.fullmatch(value)", "_PLAIN.match(value)"),
    ),
    (f"{DOMAIN}/strict_json.py", f"{UNIT}/domain/test_strict_json.py"): (
        ("JSON: no NaN", "parse_constant=_constant", "parse_constant=float"),
        ("JSON: no doubled keys", "if len(members) != len(pairs):", "if False:"),
        ("limit: values", 'if sum(map(text.count, ",[{")) > max_values:', "if False:"),
        ("limit: depth", "if depth > max_depth:", "if False:"),
        ("limit: strings", "len(_utf8(text))) > max_string:", "len(_utf8(text))) > 1 << 40:"),
    ),
    (f"{DOMAIN}/request.py", f"{UNIT}/domain/test_request.py"): (
        ("memory: headers that are not read go", "kept_headers(self.headers)", "tuple(self.headers)"),
        ("memory: a refusal keeps no frames", "problem.with_traceback(None)", "problem"),
        ("request id: closed alphabet", " and _REQUEST_ID.match(wanted) is not None", ""),
        ("token: exactly one", "if len(given) > 1:", "if False:"),
        ("redaction: repr of a request", "token: str = field(repr=False)", "token: str"),
    ),
    (f"{DOMAIN}/solution.py", SHOWN): (
        ("redaction: repr of a caller", "email: str = field(repr=False)", "email: str"),
    ),
    (
        f"{DOMAIN}/bundle/presentation.py",
        f"{UNIT}/domain/bundle/test_presentation.py {UNIT}/refusals/test_descriptions.py",
    ): (
        (
            "HTML: sanitised",
            "_CLEANER.clean(_MARKUP.sub(markup.rewritten, text)).strip()",
            "_MARKUP.sub(markup.rewritten, text).strip()",
        ),
        ("HTML: attributes go before the tree is built", "_MARKUP.sub(markup.rewritten, text)", "text"),
        ("HTML: attributes of a tag", "if number > MAX_ATTRIBUTES:", "if False:"),
        (
            "HTML: schemes",
            'SCHEMES = {"http", "https", "mailto"}',
            'SCHEMES = {"http", "https", "mailto", "javascript"}',
        ),
        ("HTML: length", "if len(text) > MAX_CHARS:", "if False:"),
        ("HTML: number of tags", "> MAX_TAGS:", "> 1 << 40:"),
    ),
    (f"{DOMAIN}/bundle/presentation.py", f"{UNIT}/domain/bundle/test_presentation.py"): (
        ("links: relative ones", "    attribute_filter=_without_relative,\n", ""),
        ("picture: an image", "if not icon.startswith(_SIGNATURES)", "if False"),
        ("limit: a picture", "if len(icon) > MAX_ICON:", "if False:"),
    ),
    ("worker/build.py", f"{UNIT}/delivery/test_budget.py"): (
        ("small: bytes", "ByteLimit(SMALL_BYTES, NeedsReservation)", "ByteLimit(math.inf)"),
    ),
    ("worker/build.py", f"{UNIT}/test_allowance.py"): (
        ("small: a description", "<= SMALL_MARKUP", "<= 1 << 40"),
        ("small: a blueprint", "<= SMALL_VALUES", "<= 1 << 40"),
        ("small: manifests", "<= SMALL_MANIFESTS)", "<= 1 << 40)"),
    ),
    ("worker/build.py", "tests/component/bounds/test_cpu.py"): (
        ("large: beside the loop", "if allowance.large else", "if False else"),
    ),
    ("worker/delivery/admission.py", f"{UNIT}/delivery/test_budget.py"): (
        ("budget: its limit", "<= self.limit", "<= 1 << 40"),
        ("budget: in the order of asking", "self._waiting.popleft()", "self._waiting.pop()"),
        ("budget: until the POST has ended", "        if not self._holders:", "        if True:"),
        ("budget: a reservation that nobody takes", "if turn.done() and not turn.cancelled():", "if False:"),
    ),
    ("worker/deploy.py", f"{UNIT}/delivery/test_budget.py"): (
        ("large: one attempt", "if not room.large:", "if True:"),
        ("an error keeps no bundle", "error.without_frames()", "error", f"{UNIT}/test_deploy.py"),
    ),
    (f"{ADAPTERS}/playground.py", "tests/component/bounds/test_cpu.py"): (
        ("limit: what is read of an answer", "if len(text) > 2 * MAX_READ:", "if False:"),
    ),
    (f"{DOMAIN}/bundle/archive.py", LIMITS): (("limit: all protobufs", "> MAX_PROTOS_BYTES:", "> 1 << 40:"),),
    (f"{DOMAIN}/bundle/archive.py", f"{UNIT}/domain/bundle/test_stored_zip.py {BUNDLE}"): (
        ("zip: sorted", "for path in sorted(files):", "for path in files:"),
        ("zip: one date", "_TIME, _DATE = 0, 33", "_TIME, _DATE = 0, 34"),
        ("zip: closed alphabet", "if not _NAME.fullmatch(path):", "if not _NAME.match(path):"),
    ),
    (f"{ADAPTERS}/graphene.py", f"{UNIT}/adapters/test_artifacts_client.py"): (
        ("files: of another size than is known", " and size in (None, len(found))", ""),
        ("files: too old", "KEPT_SECONDS = 600", "KEPT_SECONDS = 601"),
        ("files: not proven", "if not isinstance(file, Unproven):", "if True:"),
        ("files: a long page", "self._nexus.check_too_large(error)", "pass"),
        ("files: kept in an outage", "known = {} if self._in_doubt else", "known ="),
        ("files: kept again after it", "self._in_doubt and not asked", "self._in_doubt"),
        ("files: not released", ' and "-SNAPSHOT" not in path', ""),
        ("files: too large to be kept", "if _size_kept(file) <= self._files.maxsize and", "if"),
        (
            "limit: what is fetched of all protobufs",
            "ByteLimit(MAX_PROTOS_BYTES, TooLargeTogether)",
            "ByteLimit(1 << 40)",
            LIMITS,
        ),
        ("limit: what is kept counts", "spend(limits, sum(map(len, known.values())))", "pass"),
    ),
    (f"{ADAPTERS}/graphene.py", f"{UNIT}/refusals/test_uris.py"): (
        ("uri: no scheme", " or _SCHEME.match(uri)", ""),
        ("uri: no dots", "return not _DOTS.fullmatch(normalised)", "return bool(normalised)"),
        ("uri: no dots before parameters", '(?:;.*)?", re.DOTALL)', '", re.DOTALL)'),
        ("uri: no dots once normalised", 'unicodedata.normalize("NFKC", segment).translate', "segment.translate"),
        ("uri: no dots around joiners", ".translate(_WITHOUT_JOINERS)", ""),
        ("uri: excluded in ASCII", "char.isprintable() and char not in _EXCLUDED", "char.isprintable()"),
        ("uri: no control characters", "return char.isprintable() and ", "return "),
        ("uri: excluded look-alikes", "(char in _EXCLUDED or unicodedata", "(unicodedata"),
        ("uri: categories", " or unicodedata.category(char)[0] not in _CATEGORIES", ""),
        ("uri: excluded once normalised", "return _NORMALISED.isdisjoint(", "return bool("),
        ("uri: spaces around", 'segment != segment.strip(" ") or ', ""),
        (
            "uri: whose file, without parameters",
            '.partition(";")[0] for',
            " for",
            f"{UNIT}/adapters/test_catalog_client.py::test_whose_a_file_is_stands_first_in_its_path",
        ),
        (
            "uri: whose file, unescaped",
            "(unquote(it).",
            "(it.",
            f"{UNIT}/adapters/test_catalog_client.py::test_whose_a_file_is_stands_first_in_its_path",
        ),
        ("uri: no user before a host", ' or "@" in segments[0]', ""),
        ("uri: unescaped twice", "segment = unescaped", "return True"),
        (
            "uri: escapes that are no UTF-8",
            "            return False\n        if unescaped",
            "            return True\n        if unescaped",
        ),
        ("uri: escapes of one server", " and not _UNICODE_ESCAPE.search(segment)", ""),
    ),
    (f"{ADAPTERS}/http.py", f"{UNIT}/adapters/test_artifacts_client.py"): (
        ("files: a page", 'elif begins == b"<" or', "elif"),
        ("files: a page by its type", "not genuine and _is_html", "False and _is_html"),
        ("files: a type in upper case", '"Content-Type", "").lower()', '"Content-Type", "")'),
        ("files: a page in UTF-16", "\\xfe\\xff\\0 ", " "),
        ("files: a page after a form feed", "\\n\\f\\v", "\\n"),
        ("files: unproven ones are marked", "body if genuine else Unproven(body)", "body"),
        ("files: a long file that is proven", "if page and not _SHA1.search(", "if page or _SHA1.search("),
        ("files: nothing", "if not begins:", "if False:"),
        ("files: a checksum", "if checksum and checksum[1] !=", "if checksum and None is not checksum[1] and False !="),
        ("files: what is genuine ends", "if genuine:", "if False:"),
        ("uri: below the base", "if not kept or ", "if "),
        (
            "redirects are not followed",
            "allow_redirects=False",
            "allow_redirects=True",
            (
                f"{UNIT}/adapters/test_artifacts_client.py {UNIT}/adapters/test_jwks.py "
                f"{UNIT}/adapters/test_playground.py"
            ),
        ),
        ("limit: answers of CCDS and Nexus", "if len(answer.body) > max_bytes:", "if len(answer.body) > 1 << 40:"),
        ("limit: what is read of an answer", "if len(body) > max_bytes:  # enough", "if False:  # enough", ANSWERS),
        ("limit: what is unpacked of an answer", "if len(body) > max_bytes:  # a bomb", "if False:  # a bomb", ANSWERS),
        (
            "leave is asked for each time",
            'if stage == "fetch":',
            "if True:",
            f"{UNIT}/adapters/test_catalog_client.py",
        ),
        ("a failure is not shared", "mine.set_result(None)", "mine.set_result((None,))"),
        ("what is shared is taken off", "spend(left, len(shared[0].body) if shared[0] else 0)", "pass"),
    ),
    (f"{DOMAIN}/tokens.py", f"{UNIT}/domain/test_tokens.py {UNIT}/adapters/test_token_attacks.py"): (
        ("token: canonical base64", ' or base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode()', ""),
        ("token: size", "if len(text) > MAX_TOKEN:", "if False:"),
        ("token: depth", "max_depth=MAX_DEPTH", "max_depth=32"),
        ("token: no extensions", "if READ_OTHERWISE & header.keys():", "if False:"),
        ("token: of no other kind", "if kind not in TYPES:", "if False:"),
    ),
    (
        f"{DOMAIN}/tokens.py",
        f"{UNIT}/adapters/test_token_expiry.py {UNIT}/adapters/test_tokens.py {UNIT}/adapters/test_token_attacks.py",
    ): (
        ("token: times are whole numbers", "if type(value) is not int or", "if not isinstance(value, int) or"),
        ("token: times within a century", " or abs(value - now) > CENTURY", ""),
        ("token: exp is required", 'if "exp" not in claims:', 'if not (claims := {"exp": int(now), **claims}):'),
        ("token: wait in the queue is bounded", " and now - appended_at <= max_queue_age", ""),
        ("token: user id is no path of dots", 'if not user_id.strip("."):', "if False:"),
        ("token: issuer", "if issuer is not None and", "if False and"),
        ("token: audience", "if audience is not None and", "if False and"),
    ),
    (f"{DOMAIN}/tokens.py", f"{UNIT}/adapters/test_tokens.py {UNIT}/adapters/test_token_attacks.py"): (
        ("token: one algorithm", "if read.algorithm != self._settings.algorithm:", "if False:"),
        ("token: signature", " or not self._verify(read.signed, key, read.signature)", ""),
    ),
    (f"{ADAPTERS}/tokens.py", f"{UNIT}/adapters/test_tokens.py {UNIT}/adapters/test_token_attacks.py"): (
        ("token: no weak secret", "if len(key) < MIN_KEY_BYTES and not settings.allow_weak_secret:", "if False:"),
    ),
    (f"{ADAPTERS}/tokens.py", f"{UNIT}/adapters/test_jwks.py {UNIT}/adapters/test_token_attacks.py"): (
        ("keys: none that is private", "if _PRIVATE & jwk.keys():", "if False:"),
        ("keys: none that is short", "if key.key_size < MIN_RSA_BITS:", "if False:"),
        ("keys: none for another use", 'and jwk.get("use", "sig") == "sig"', "and True"),
    ),
    (f"{ADAPTERS}/jwks.py", f"{UNIT}/adapters/test_jwks.py"): (
        ("keys: unknown names ask seldom", " and self._clock() - self._read_began >= MIN_INTERVAL", ""),
        ("keys: unknown names wait for no slow read", "None if dependency_wide else self._patience", "None"),
        ("keys: old ones lapse", "if self._age() >= stale or not self._known:", "if not self._known:"),
    ),
    (f"{ADAPTERS}/graphene.py", f"{UNIT}/adapters/test_catalog_client.py"): (
        ("whose files: asked", "if asked:\n", "if False:\n"),
        ("whose files: unknown", "if None in found and not self._allow_unknown:", "if False:"),
        (
            "whose files: first in the path",
            'for it in uri.split("/")[:-1])  #',
            'for it in reversed(uri.split("/")[:-1]))  #',
        ),
        ("whose files: the caller, too", "(solution.owner_id, caller.user_id)", "(solution.owner_id,)"),
        ("CCDS: who may read", "if not allowed:", "if False:"),
        ("CCDS: the revision belongs to the solution", "if owner.lower() != str(solution_id):", "if False:"),
        ("CCDS: 200 without a body is not found", "                    if body\n", "                    if True\n"),
        ("content is no outage", "except NotJson as error:", "except JsonError as error:"),
        ("limit: values of an answer", "max_values=MAX_VALUES", "max_values=1 << 40"),
        ("limit: all descriptions", "max_bytes=int(texts.remaining))", "max_bytes=MAX_DESCRIPTION)"),
    ),
    (f"{ADAPTERS}/playground.py", f"{UNIT}/adapters/test_playground.py"): (
        ("playground: links lead to users' address", "public_url or deploy_url", "deploy_url"),
        ("redaction: the path to the playground", "str(self._url.origin())", "str(self._url)"),
        ("Retry-After: an hour", "min(max(seconds, 0.0), MAX_RETRY_AFTER)", "max(seconds, 0.0)"),
        ("playground: 302 is a refusal", "if 300 <= status < 400:", "if 303 <= status < 400:"),
        ("playground: None is no deployment", 'if text == f"{_DASHBOARD}None":', "if False:"),
        ("playground: the whole answer", "_DEPLOYED.fullmatch(text)", "_DEPLOYED.match(text)"),
        ("playground: 5xx is an unknown outcome", "if status >= 500:", "if status >= 502:"),
        ("playground: no connection is used twice", "force_close=True", "force_close=False"),
        ("limit: answers of the playground", "max_bytes=MAX_ANSWER", "max_bytes=1 << 40", ANSWERS),
        (
            "redaction: the playground repeats the bundle",
            "_without_bundle(line, bundle).removesuffix",
            "line.removesuffix",
        ),
        (
            "redaction: the playground repeats the user",
            "_without_user(without_encoded(text), ",
            "(lambda text, _: text)(text, ",
        ),
        ("redaction: the playground repeats a token", "_without_user(without_encoded(text), ", "_without_user(text, "),
    ),
    ("schemas/events.py", f"{UNIT}/schemas/test_events.py"): (
        ("limit: a status", "if len(value) > self.MAX_BYTES:", "if False:"),
        ("statuses: in their request's partition", "Message(topic, self.source.partition, ", "Message(topic, None, "),
    ),
    ("worker/deploy.py", f"{UNIT}/test_deploy.py"): (
        (
            "redaction: verified tokens and users",
            "logs.hide(request.token, caller.user_id, caller.email)",
            "",
            f"{REQUESTS}::test_defects",
        ),
        ("statuses: whatever happens, one is final", "except Exception:", "except ValueError:"),
        ("statuses: none after one that was not taken", "except StatusNotPublished:", "except ZeroDivisionError:"),
        (
            "delivery: no POST before its intent is durable",
            "await job.publish(job.state.submitting(",
            "job.publish(job.state.submitting(",
        ),
        ("delivery: late attempts send nothing", "if seconds <= 0 or not job.caller:", "if not job.caller:", AGAIN),
        (
            "delivery: the same again gets nothing new",
            "await job.compare_with_original()",
            'raise Unauthenticated("wrong-record-key", "")',
            AGAIN,
        ),
    ),
    ("worker/observability/traces.py", f"{UNIT}/observability/test_traces.py"): (
        ("traces: no proxy", "session.trust_env = False", "session.trust_env = True"),
    ),
    (f"{DOMAIN}/lifecycle.py", f"{UNIT}/domain/test_lifecycle.py"): (
        ("statuses: a name on one line", "_printable(plan.solution_name)[:100]", "plan.solution_name[:100]"),
        ("statuses: a message on one line", "message=_printable(message)[:1000]", "message=message[:1000]"),
        ("statuses: legal order", "if state not in SUCCESSORS[self.state]:", "if False:"),
        (
            "requests: an id belongs to nobody before it is known who asks",
            "return cls(record.record_id, record.offset, now, first, key=record.key)",
            'return cls(getattr(request, "id", record.record_id), record.offset, now, first)',
            f"{UNIT}/test_deploy.py::test_an_id_belongs_to_nobody_before_the_request_is_accepted",
        ),
        ("interruptions: settled ones do not count", "self.last.attempt - settled))", "self.last.attempt))"),
        ("statuses: no gaps", "last.sequence + 1 if last", "last.sequence + 2 if last"),
        ("next step: none after the end", "if state.final or held.repeats:", "if held.repeats:"),
        ("next step: none for the same again", "if state.final or held.repeats:", "if state.final:"),
        (
            "next step: who brings another's id is compared with it",
            "return CompareWithOriginal() if held.original else Authenticate()",
            "return Authenticate()",
        ),
        (
            "next step: what is parked waits outside of its user's turn",
            "if state.state is State.PARKED:\n            # Without",
            "if False:\n            # Without",
        ),
        ("next step: one of a user at a time", "if not held.has_key_lock:", "if False:"),
        (
            "next step: what may have been sent is not sent again",
            "if state.state is State.SUBMITTING:\n            return AwaitSettlement",
            "if False:\n            return AwaitSettlement",
        ),
        ("delivery: a POST is waited out", "(last.attempt_deadline or last.time) + SERVER_MARGIN", "last.time"),
        ("delivery: who ends workers is not tried again", "if state.interruptions >= MAX_INTERRUPTIONS:", "if False:"),
        ("next step: no attempt without a verified user", "if held.caller is None:", "if False:"),
        ("retries: not before their time", "if last.next_attempt_at and last.next_attempt_at > now:", "if False:"),
        (
            "delivery: park, and do not send again",
            'case OutcomeUnknown() if self.playground.on_unknown_outcome == "park":',
            "case OutcomeUnknown() if False:",
        ),
        (
            "delivery: what nobody settled is parked",
            "return state.parked(now)\n            return",
            "pass\n            return",
        ),
        ("retries: an end", "if at > give_up_at and not outage.is_down", "if False"),
        ("retries: no end during an outage", "if at > give_up_at and not outage.is_down", "if at > give_up_at"),
        (
            "retries: an end before anything is accepted",
            "not (at <= give_up_at or outage.is_down)",
            "False",
        ),
        ("awaiting keys: aside when others can go on", "state.state is None and not error.dependency_wide", "True"),
        ("awaiting keys: an outage keeps no evicted request", "if held.evicted or not (", "if not ("),
        ("stop: nothing is said of what may have been sent", " and not held.may_be_sent", ""),
        ("stop: what was built in vain is no interruption", "if state.state is State.BUILDING or (", "if ("),
    ),
    (f"{DOMAIN}/lifecycle.py", f"{UNIT}/delivery/test_parked.py {UNIT}/domain/test_lifecycle.py"): (
        ("parked: nobody works on what rests", "if held.resumed or state.is_settled else End()", ""),
        ("parked: what is settled does not rest", "if held.resumed or state.is_settled else", "if held.resumed else"),
    ),
    ("worker/delivery/partition.py", f"{UNIT}/delivery/test_parked.py"): (
        ("parked: it counts among its user's", "requests.parked.count_of(caller.user_id)", ""),
        ("parked: its record is read for a retry alone", ' and found.outcome == "retry":', ":"),
        ("parked: a retry has its record", "if self.resumed and found and", "if False and found and"),
        ("parked: an inherited one is given up, too", "self._watch_parked()\n        self._on_ready", "self._on_ready"),
        (
            "parked: of an attempt that is settled",
            "if state.is_settled and not self.stopping:",
            "if not self.stopping:",
        ),
        ("parked: another record is not its own", " and found[1].id == state.request_id:", ":"),
        (
            "parked: brokers that are away end nothing",
            "await self.context.clocks.sleep(MAX_RESTART_SECONDS)",
            "raise",
        ),
    ),
    (f"{ADAPTERS}/kafka/clients.py", "tests/component/adapters/kafka/test_partition_store.py"): (
        ("records by offset: only these", "if wanted and record.offset == wanted[0]:", "if wanted:"),
        ("records by offset: few seeks", "if not 0 <= wanted[0] - position <= SKIPPED:", "if True:"),
    ),
    (f"{DOMAIN}/partition_state.py", PARTITION): (
        (
            "checkpoint: what ended behind a record without a status",
            "[self.end if statuses_from is None else statuses_from]",
            "[self.end]",
        ),
        ("checkpoint: what ended before a take-over", "self.requests.read_from if known else", ""),
        ("parked: whose it is follows from its fingerprint", "fingerprint(user_id, *wanted)", '""'),
        ("parked: an end makes room", "self._of_user[parked.key] -= 1", "pass"),
        ("parked: one job for each", " or state.request_id in self._at_work:", ":"),
        ("parked: the job of what is settled goes on", "if state.is_settled:", "if False:"),
        (
            "parked: its record is not begun again",
            "self.ended_offsets.add(state.offset, state.request_id)\n            self.parked",
            "self.parked",
        ),
        (
            "parked: it passes no offset",
            "state.statuses_from = self.status_at\n        return state",
            "state.statuses_from, state.offset = self.status_at, state.record_offset\n        return state",
        ),
        ("parked: without its content", "last.to_json(), *times", "last.to_json() * 4, *times"),
        ("dead letter: always fits", "if message.size <= Message.MAX_BYTES:", "if True:", PARTITION),
        (
            "delivery: no commit before the finish",
            "return next(iter(self._open), self.next_offset)",
            "return self.next_offset",
        ),
        (
            "dead letters: in their status's transaction",
            "return message, self._letter(dead_letter)",
            "return (message,)",
            f"{PARTITION}::test_a_dead_letter_goes_with_its_status",
        ),
        (
            "requests: nobody drops another's state",
            " and self._open.get(state.request_id) is state:",
            " and state.request_id in self._open:",
            f"{PARTITION}::test_an_id_without_a_status_can_be_dropped",
        ),
        (
            "requests: an id belongs to the record that was accepted with it",
            "        owner = self.find(request_id)\n        if owner is None:",
            "        owner = None\n        if owner is None:",
            f"{PARTITION}::test_an_id_belongs_to_the_record_that_was_accepted_with_it",
        ),
        (
            "requests: a topic's statuses are not another topic's",
            "if (state := self.inherited.get(request_id)) and state.offset == offset:",
            "if (state := self.inherited.get(request_id) or next(iter(self.inherited.values()), None)):",
            f"{PARTITION}::test_an_offset_of_a_topic_that_is_gone_is_another_record",
        ),
        (
            "requests: whose record is gone goes on",
            "state.offset not in to_come]",
            "state.offset < to_come.start]",
            f"{PARTITION}::test_what_the_partition_ends_before_goes_on_without_its_record",
        ),
        (
            "requests: another one is read in its place",
            "range(self.offsets.next_offset, unfinished.stop)",
            "range(self.requests.ended_offsets.range.start, unfinished.stop)",
            f"{PARTITION}::test_an_offset_of_a_topic_that_is_gone_is_another_record",
        ),
        (
            "requests: whose record is gone passes no offset",
            "state.offset = RECORD_GONE",
            "state.offset += 0",
            f"{PARTITION}::test_an_offset_of_a_topic_that_is_gone_is_another_record",
        ),
        (
            "requests: what an earlier worker ended is not begun again",
            "self.offsets.finish(record.offset)\n            return None",
            "self.offsets.finish(record.offset)",
            f"{PARTITION}::test_a_request_that_an_earlier_worker_ended_only_lets_its_offset_pass",
        ),
        (
            "requests: the ended ones of a topic are not another topic's",
            "and self._ids[place] in map(_number, request_ids)",
            "and self._ids[place]",
        ),
        ("requests: of the ended ones only the last are known", "if len(self._ended) > self.remembered:", "if False:"),
        (
            "requests: no stranger pushes out what is remembered",
            "if state.fingerprint is None or state.state is None:",
            "if False:",
        ),
        ("checkpoint: what is open is read", "        if self._open:\n", "        if False:\n"),
        ("checkpoint: what is remembered is read", "        if self._ended:\n", "        if False:\n"),
        ("checkpoint: what is parked is read", "tuple(parked[:MAX_PARKED])", "()"),
        (
            "checkpoint: it fits into an offset's metadata",
            "Checkpoint(offset, min([start, *parked[MAX_PARKED : MAX_PARKED + 1]]), tuple(parked[:MAX_PARKED]))",
            "Checkpoint(offset, start, tuple(parked))",
        ),
        (
            "checkpoint: metadata of another origin means to read all",
            'if version != "v1" or not numbers or not all(number.isdecimal() for number in numbers):',
            "if not numbers:",
        ),
        (
            "checkpoint: what goes on is needed from there",
            "state.statuses_from = status_at  # all that",
            "state.statuses_from = 0  # all that",
        ),
        (
            "requests: a record is received once",
            "if record.offset < self.offsets.next_offset:\n            return None",
            "if False:\n            return None",
            f"{PARTITION}::test_a_record_that_was_read_before_is_passed_over",
        ),
        (
            "delivery: a parked request holds up no offset",
            "if it.status.state in RESTING_STATES:",
            "if it.status.state in FINAL_STATES:",
            f"{PARTITION}::test_a_final_status_takes_its_offset_with_it",
        ),
    ),
    ("worker/delivery/admission.py", f"{UNIT}/delivery/test_admission.py"): (
        ("open requests: their limit", ">= self._max_open:", ">= 1 << 40:"),
        ("open requests: an end makes room", "self._open[lock.key] -= 1", "pass"),
        ("open requests: accepted ones stay", "if not accepted and self._open", "if self._open"),
        (
            "key queue: one of a user at a time",
            "append(lock)\n        queue[0].first",
            "append(lock)\n        lock.first",
        ),
        (
            "key queue: whoever leaves lets the next one go",
            "if queue:\n            queue[0].first.set()",
            "if queue:\n            pass",
        ),
        ("limiter: so many in all", "self._free -= 1", "pass"),
        (
            "limiter: who posts goes first",
            "for queue in (self._posts, self._builds):",
            "for queue in (self._builds, self._posts):",
        ),
    ),
    ("worker/delivery/awaiting_keys.py", f"{UNIT}/delivery/test_awaiting_keys.py"): (
        ("awaiting keys: so many at once", "if len(self._waiting) > self._limit:", "if False:"),
        ("awaiting keys: eviction from the key with most requests", "if job.record.key == key)", ")"),
        ("awaiting keys: an evicted request ends", "oldest.evicted = True", "pass"),
        ("awaiting keys: counted nowhere else", "job.exclude_from_backpressure()", "pass"),
    ),
    ("worker/delivery/partition.py", f"{UNIT}/delivery/test_awaiting_keys.py"): (
        (
            "awaiting keys: it holds up no user",
            "self._release_key_lock()\n        self._processor.state.offsets.exclude_from_backpressure",
            "self._processor.state.offsets.exclude_from_backpressure",
        ),
    ),
    ("worker/delivery/admission.py", f"{UNIT}/delivery/test_breakers.py"): (
        ("breakers: one is the trial", "if left <= 0 and not self._trial and", "if left <= 0 and"),
        ("breakers: credentials at once", 'or error.code.endswith("-unauthorized")', "or False"),
        ("breakers: one solution is no outage", "and len(self._users) >= MIN_ORIGINS)", ")"),
        (
            "breakers: one user is no outage",
            "origin.user not in self._users and origin.solution not in self._solutions",
            "origin.solution not in self._solutions",
        ),
        (
            "breakers: many users of one solution are no outage",
            "origin.user not in self._users and origin.solution not in self._solutions",
            "origin.user not in self._users",
        ),
        ("breakers: what is everybody's counts whoever asks", "self._dependency_wide >= FAILURES or", "False or"),
        (
            "breakers: the next trial is another's",
            "(self._failures.is_new(origin) or not self._others_wait())",
            "True",
        ),
        ("breakers: one source does not keep it open", "elif trial and not self._others_wait():", "elif False:"),
        ("breakers: what began before says nothing new", "if self.open and not trial:", "if False:"),
    ),
    (f"{ADAPTERS}/http.py", f"{UNIT}/adapters/test_artifacts_client.py {UNIT}/adapters/test_http.py"): (
        (
            "breakers: a connection that breaks may be the content's",
            'self._unavailable("unavailable", stage, cause_of(error)) from None',
            'self._unavailable("unavailable", stage, cause_of(error), dependency_wide=True) from None',
        ),
        (
            "breakers: a forbidden file may be the content's",
            "wide = answer.status == 401",
            "wide = True",
        ),
        ("breakers: connecting has a limit of its own", ", sock_connect=settings.timeout_seconds / 2", ""),
    ),
    ("worker/delivery/partition.py", "tests/component/generated/test_partition.py"): (
        (
            "delivery: status and offset in one transaction",
            "offsets = await writer.commit(transaction.messages, transaction.checkpoint)",
            (
                "await writer.commit([], transaction.checkpoint)\n"
                "                            offsets = await writer.commit(transaction.messages, None)"
            ),
        ),
        (
            "delivery: verified ownership before work",
            "checkpoint, end = await store.verify_ownership(self.partition)",
            "from worker.domain.partition_state import Checkpoint\n            checkpoint, end = Checkpoint(0), 99",
        ),
        (
            "delivery: the request table before work",
            "settlements = await store.load(self.partition, checkpoint, requests)",
            "settlements = await store.load(self.partition, checkpoint, RequestTable())",
        ),
        (
            "delivery: a POST outlives its partition's term",
            "return await asyncio.shield(self._post)",
            "return await self._post",
        ),
    ),
    ("worker/delivery/partition.py", f"{UNIT}/delivery/test_job.py"): (
        ("age: the turn is noted", "self.waits_for_turn, self.turn_at = False, ", "_ = "),
        ("stop: why a POST was cut off", '"this worker was stopped"', '""'),
        ("token: record key is its user", "if self.record.key != key:", "if False:"),
        (
            "one POST per user: in one partition",
            "if new and self.record.misplaced:",
            "if False:",
        ),
        ("open requests: counted when accepted", "(self._lock or self._join()).count_open(", "id("),
        ("waiting: without content", "self.record = self.record.without_content()", "pass"),
        ("waiting: beside the bounds", "if lock.first.is_set() or self", "if True or self"),
        ("waiting: within a bound", "queue.waiting >= MAX_WAITING", "queue.waiting >= 1 << 40"),
        (
            "key queue: whoever is cancelled leaves it",
            "self._release_key_lock()\n        if self.state.state",
            "if self.state.state",
        ),
        (
            "interruptions: a worker that lost its partition is none",
            "state.settlements.setdefault(settled.attempt, settled)",
            "pass",
        ),
        (
            "interruptions: it says so while it builds",
            "if status.state is State.BUILDING:\n            # Not",
            "if False:\n            # Not",
        ),
        (
            "interruptions: an attempt is settled by whose it is alone",
            "if status.state is State.SUBMITTING:\n            self._attempt",
            "if status.state in {State.BUILDING, State.SUBMITTING}:\n            self._attempt",
        ),
        (
            "stop: another worker's POST may be sent",
            "return self._attempt is None or self.posting",
            "return self.posting",
        ),
    ),
    ("worker/concurrency.py", f"{UNIT}/test_concurrency.py"): (
        (
            "background: what fails is started again",
            "except Exception as error:  # noqa",
            "except KeyError as error:  # noqa",
        ),
        ("background: pauses grow", "pause = min(2 * pause, MAX_PAUSE_SECONDS)", "pass"),
        ("background: failures are counted", "            on_failure()\n", ""),
    ),
    ("worker/concurrency.py", f"{UNIT}/cli/test_terminal.py"): (
        ("stop: a third signal", "if stop.is_set() and not work.cancelling():", "if stop.is_set():"),
    ),
    ("worker/delivery/partition.py", f"{UNIT}/test_deploy.py {AGAIN}"): (
        (
            "metrics: dead letters alone are counted as such",
            "and isinstance(error, Unreadable | Unavailable | OutcomeUnknown):",
            "and error:",
        ),
        ("dead letters: not before the end", "if status.state in FINAL_STATES and isinstance(", "if isinstance("),
    ),
    ("worker/adapters/kafka/acls.py", f"{KAFKA_SECURITY}/test_worker.py"): (
        ("Kafka: a missing ACL is noticed", "return bool(known and", "return bool(False and"),
        ("Kafka: a hidden topic is noticed", "and operation in _IMPLY_DESCRIBE", "and False"),
    ),
    ("worker/adapters/kafka/diagnosis.py", f"{KAFKA_SECURITY}/test_connections.py"): (
        ("Kafka: refused is not unreachable", "raise refused or KafkaUnreachable(", "raise KafkaUnreachable("),
        (
            "Kafka: unreachable is not refused",
            "raise refused or KafkaUnreachable(",
            "raise refused or ConfigurationError(",
        ),
    ),
    ("worker/adapters/kafka/startup.py", f"{KAFKA_SECURITY}/test_running.py"): (
        ("Kafka: a worker whose access is denied says so", "if isinstance(denial, Exception):", "if False:"),
        ("Kafka: one denial stops no worker", "MAX_DENIALS = 3", "MAX_DENIALS = 1"),
    ),
    ("worker/observability/logs.py", f"{UNIT}/observability/test_logs.py"): (
        ("redaction: by name", "if any(secret in name.lower() for secret in _SECRET_NAMES):", "if False:"),
        ("redaction: by looks", "text = without_encoded(text)", ""),
        ("redaction: by value", "text = text.replace(secret, REMOVED)", "pass", LOG),
        ("redaction: bytes", "if isinstance(value, bytes | bytearray | memoryview):", "if False:", LOG),
        ("redaction: no local variables", "show_locals=False", "show_locals=True"),
        (
            "redaction: libraries are heard from warning on",
            "max(logging.WARNING, getattr(logging, level.upper()))",
            "10",
        ),
        ("redaction: uncaught exceptions", "sys.excepthook = _uncaught", "", f"{COMMANDS}::test_what_nobody_catches"),
        (
            "redaction: exceptions in threads",
            "threading.excepthook = _uncaught_in_thread",
            "",
            f"{COMMANDS}::test_what_nobody_catches",
        ),
        (
            "redaction: exceptions in __del__",
            "sys.unraisablehook = _unraisable",
            "",
            f"{COMMANDS}::test_what_nobody_catches",
        ),
        ("redaction: warnings", "warnings.showwarning = _warning", "", f"{COMMANDS}::test_what_nobody_catches"),
    ),
    ("worker/observability/health.py", f"{UNIT}/observability/test_health.py"): (
        ("ready: topics are right", "        if self._topics:", "        if False:"),
        ("ready: partitions are processed", "if seconds > UNPROCESSED_SECONDS", "if False"),
        ("health port: so many connections", "if len(self._open) > MAX_CONNECTIONS:", "if False:"),
        ("health port: so many seconds", "call_later(self._seconds, ", "call_later(3600, "),
        ("health port: one request a connection", "response.force_close()", "pass"),
        ("health port: who does not read", "transport.abort()", "transport.close()"),
        ("health port: a crowd at once", "backlog=ACCEPTED_AT_ONCE", "backlog=WAITING"),
        ("health port: short requests", "max_headers=MAX_HEADERS,", ""),
        ("health port: strangers write no log", "logger=_SILENT,", ""),
    ),
    ("worker/observability/telemetry.py", f"{UNIT}/observability/test_telemetry.py"): (
        ("trace: goes on from the last status", "state.traceparent or record.traceparent", "record.traceparent"),
        ("trace: no text of exceptions", "_failed(span, error.code if", "_failed(span, str(error) if"),
        ("trace: no exception is recorded", "record_exception=False", "record_exception=True"),
    ),
    ("worker/domain/overrides/manifest_checks.py", f"{UNIT}/domain/overrides/test_patching.py"): (
        ("overrides: namespaces of the host", "if shared:  #", "if False:  #"),
    ),
    (SCRIPT, f"{SCRIPT_TESTS}_again.py"): (
        ("script: workloads of others", "    if others:\n", "    if False:\n"),
        ("script: stateful workloads", '("Deployment", "StatefulSet", ', '("Deployment", '),
        ("script: workloads on every node", '"DaemonSet", "Job", "CronJob")', '"Job", "CronJob")'),
        ("script: workloads that end", '"DaemonSet", "Job", "CronJob")', '"DaemonSet", "CronJob")'),
        ("script: workloads at times", '"DaemonSet", "Job", "CronJob")', '"DaemonSet", "Job")'),
    ),
    (SCRIPT, f"{SCRIPT_TESTS}_inputs.py"): (
        ("script: aliases", "        if self.check_event(yaml.AliasEvent):", "        if False:"),
        ("script: length of a number", "if len(node.value) > MAX_NUMBER:", "if False:"),
        ("script: length of a share", 'for it in ("int", "float"):', 'for it in ("int",):'),
        (
            "script: control characters in errors",
            'print(f"error: {visible(line)}"',
            'print(f"error: {line}"',
            f"{SCRIPT_TESTS}_inputs.py::test_control_characters_of_a_name",
        ),
        (
            "script: control characters of files",
            "{visible(manifest.path.name)}",
            "{manifest.path.name}",
            f"{SCRIPT_TESTS}_inputs.py::test_control_characters_of_names_everywhere",
        ),
        ("script: depth of a manifest", "        if self.depth == MAX_DEPTH:", "        if False:"),
        ("script: depth is left again", "        self.depth -= 1\n", ""),
        (
            "script: no line of YAML is quoted",
            'Problem(f"Its YAML is wrong{place}.")',
            'Problem(f"Its YAML is wrong{place}. {error}")',
        ),
        ("script: values that are not of their tag", "    except Exception:  # noqa", "    except ValueError:  # noqa"),
        ("script: no kubeconfig is quoted", 'why = f"{type(error).__name__};', 'why = f"{error};'),
        (
            "script: deep JSON",
            '    except (ValueError, RecursionError):\n        wrong.append(f"{path} is not',
            '    except ValueError:\n        wrong.append(f"{path} is not',
        ),
        ("script: patterns without bound", "re.error, OverflowError, RecursionError)", "re.error)"),
        (
            "script: an empty dockerinfo.json",
            "[] if bundle.docker_info is None else",
            "[] if not bundle.docker_info else",
        ),
        ("script: each container has an image", "yield from check_containers(", "yield from () and check_containers("),
        (
            "script: answers that are no objects",
            "if not isinstance(document, dict):\n            raise",
            "if False:\n            raise",
        ),
        ("script: a home that is nowhere", "Path(os.path.expanduser(path))", "Path(path).expanduser()"),
        ("script: names that cannot be shown", '.reconfigure(errors="backslashreplace")', ".reconfigure()"),
        ("script: nobody reads any more", "    except OSError:  # whoever", "    except EOFError:  # whoever"),
        (
            "script: what nobody foresaw",
            "    except Exception as error:  # noqa: BLE001 - a trace",
            "    except IndexError as error:  # noqa: BLE001 - a trace",
        ),
    ),
    (SCRIPT, f"{SCRIPT_TESTS}_files.py"): (
        ("script: links", "        if part.is_symlink():", "        if False:"),
        ("script: links on the way", "for part in (path, *path.parents):", "for part in (path,):"),
        (
            "script: a link in place of the client",
            'inside(base, base / "orchestrator_client" / "orchestrator_client.py")',
            "pass",
        ),
        (
            "script: modules beside it",
            "if os.path.realpath(it) != own]",
            "]",
            f"{SCRIPT_TESTS}_files.py::test_modules_beside_the_script",
        ),
        ("script: links that come at once", 'getattr(os, "O_NOFOLLOW", 0)', "0"),
        ("script: links to nothing", "if os.path.lexists(info) else None", "if info.exists() else None"),
        ("script: links among what is written", 'in sorted(folder.glob("*")):', 'in sorted(folder.glob("*e.yaml")):'),
        ("script: links that come later", "if inside(bundle, path).exists() and", "if path.exists() and"),
        ("script: links where a file is prepared", "    if os.path.lexists(beside):", "    if False:"),
        ("script: pipes", ' | getattr(os, "O_NONBLOCK", 0)', ""),
        (
            "script: ordinary files",
            "if stat.S_ISREG(os.fstat(file.fileno()).st_mode) or not bundle else",
            "if True else",
        ),
        ("script: size of a file", "    if len(data) > limit:", "    if False:"),
    ),
    (SCRIPT, f"{SCRIPT_TESTS}_manifests.py"): (
        (
            "script: objects elsewhere",
            'if dig(document, "metadata", "namespace") not in (None, namespace):',
            "if False:",
        ),
        ("script: pods elsewhere", 'if dig(template, "metadata", "namespace") not in (None, namespace):', "if False:"),
        ("script: network of the host", '("hostNetwork", "hostPID", ', '("hostPID", '),
        ("script: processes of the host", '("hostNetwork", "hostPID", ', '("hostNetwork", '),
        ("script: memory of the host", '"hostIPC")', ")"),
        ("script: what might be read as true", "key) not in (None, False):", "key) is True:"),
    ),
    (SCRIPT, f"{SCRIPT_TESTS}_arguments.py"): (
        ("script: namespaces of the cluster", "if SYSTEM_NAMESPACE.fullmatch(settings.namespace) and", "if False and"),
        ("script: the whole name", "SYSTEM_NAMESPACE.fullmatch(", "SYSTEM_NAMESPACE.match("),
        ("script: seconds to wait", "if not 0 <= number <= 24 * 60 * 60:", "if False:"),
        ("script: namespaces when wanted", " and not options.allow_system_namespace:", ":"),
    ),
    (f"{ADAPTERS}/http.py", f"{UNIT}/adapters/test_http.py"): (
        ("redaction: what an HTTP client says", "else type(error).__name__\n\n", "else str(error)\n\n"),
        ("metrics: an exchange that is cancelled", 'outcome = ""  # it says', 'outcome = "error"  # it says'),
        ("metrics: an exchange that times out", 'outcome = "timeout"', 'outcome = "error"'),
    ),
    ("worker/observability/traces.py", f"{UNIT}/observability/test_telemetry.py"): (
        ("trace: the sender decides", "ParentBased(TraceIdRatioBased(tracing.sample_ratio))", "None"),
    ),
    ("worker/delivery/collector.py", f"{UNIT}/delivery/test_collector.py"): (
        ("age: a user's own queue", " if not job.waits_for_turn)", ")"),
        ("age: since its turn", "job.turn_at or job.state.since", "job.state.since"),
        ("metrics: markers are no lag", "if unfinished == offsets.next_offset:", "if False:"),
        ("metrics: excluded records are lag", "if unfinished == offsets.next_offset:", "if not offsets.buffered:"),
        ("metrics: what is held up", "high - stable for", "0 for"),
        ("metrics: parked ones are not old", " if job.state.state is not State.PARKED)", ")"),
        ("metrics: no lag below zero", "return max(0, end - unfinished)", "return end - unfinished"),
        ("metrics: brokers that are away", "            ends, read = {}, []  #", "            return  #"),
        ("metrics: lag of what nobody processes", "self.committed.get(processor.partition, end)", "end"),
        ("metrics: before the take-over", " for it in processors if it.ready}", " for it in processors}"),
    ),
    ("worker/settings.py", SHOWN): (
        ("redaction: refused settings", "hide_input_in_errors=True", "hide_input_in_errors=False"),
        ("redaction: no password in a URL", "(/[^\\s?#@]*)?$", "(/[^\\s?#]*)?$"),
    ),
    ("worker/settings.py", f"{UNIT}/test_settings.py"): (
        ("settings: reserved for nobody", "[a-z0-9*-]*[a-z0-9][a-z0-9*-]*", "[a-z0-9*-]+"),
        ("settings: other underscores", "    if setting:\n", "    if False:\n"),
        ("settings: variables of a service", " or _is_service_variable(name, value):", ":"),
        ("settings: what is meant", "removeprefix(PREFIX), known, 1)", "removeprefix(PREFIX), [], 1)"),
        ("settings: four topics", "if (topic := getattr(self, first)) == getattr(self, second):", "if topic := None:"),
    ),
    ("schemas/events.py", f"{UNIT}/gateway/test_fast_path.py"): (
        (
            "statuses: the source is the last field",
            "    source: SourceInfo\n\n    def to_json",
            "    source: SourceInfo\n    more: Time | None = None\n\n    def to_json",
        ),
        (
            "statuses: the attempt is in the head",
            '    attempt: int = Field(ge=1, description="1 for',
            '    more: Time | None = None\n    attempt: int = Field(ge=1, description="1 for',
        ),
    ),
    ("schemas/events.py", SHOWN): (
        ("redaction: refused events", "hide_input_in_errors=True", "hide_input_in_errors=False"),
    ),
    ("worker/cli/terminal.py", f"{COMMANDS}::test_the_worker_whom_kafka_refuses"): (
        ("redaction: the settings' secrets", ", secrets=secret_values(settings)", ""),
    ),
    (f"{ADAPTERS}/kafka/topics.py", f"{UNIT}/adapters/kafka/test_topics.py"): (
        ("check: partitions", "if self.partitions != kafka.partitions:", "if False:"),
        ("check: retention", "if (its := self._ms(topic.name)) < least:", "if its := 0:"),
        ("check: retention of parked requests", "if of_requests < parked:", "if False:"),
    ),
    ("worker/observability/health.py", f"{UNIT}/observability/test_health.py::test_taken_port_is_an_error"): (
        (
            "health: a port in use",
            "    except OSError as error:\n        reason",
            "    except KeyError as error:\n        reason",
        ),
    ),
    ("worker/cli/dead_letter.py", "tests/component/cli/test_dead_letter.py"): (
        ("replay: what was replayed before", "if state := known.get(request.request_id):", "if state := None:"),
    ),
    ("worker/cli/__init__.py", f"{UNIT}/cli/test_main.py"): (
        ("usage: what is meant", "get_close_matches(word, known, 1)", "get_close_matches(word, [], 1)"),
        ("start: logs without rich", 'if {"structlog", "rich"}.isdisjoint(sys.modules):', "if False:"),
    ),
    ("worker/cli/status_line.py", f"{UNIT}/cli/test_main.py"): (
        (
            "start: a line without rich",
            "from schemas import DeploymentStatus",
            "import rich; from schemas import DeploymentStatus",
        ),
    ),
    ("worker/cli/__init__.py", f"{COMMANDS}::test_mistakes_on_the_command_line"): (
        (
            "redaction: the command line repeats a token",
            'super().error(without_encoded(f"{message}{hint}"))',
            'super().error(f"{message}{hint}")',
        ),
    ),
    ("worker/sandbox/playground_confinement.py", f"{UNIT}/sandbox/test_playground_confinement.py"): (
        ("sandbox: scripts have no network", "--unshare-all", "--unshare-pid"),
        ("sandbox: scripts have no other processes", '"--unshare-all"', '"--unshare-net", "--unshare-ipc"'),
        ("sandbox: scripts write no system file", '"--ro-bind-try"', '"--bind-try"'),
        ("sandbox: scripts write to no root", '"/dev", "/")', '"/dev")'),
        ("sandbox: scripts write to no devices", '"/dev", "/")', '"/")'),
        ("sandbox: scripts write no settings of the kernel", '("/proc", "/dev", "/")', '("/dev", "/")'),
        ("sandbox: scripts read no file of the user", '"/etc/ld.so.cache")', '"/etc", "/tmp")'),
        (
            "sandbox: another user sees no zips",
            "folder.parent.chmod(0o711)",
            "folder.parent.chmod(0o777)",
        ),
        ("sandbox: another user has no groups of ours", ', "extra_groups": ()}', "}"),
        (
            "sandbox: what does not work is not used",
            "for candidate in candidates if works(candidate)",
            "for candidate in candidates",
        ),
    ),
    ("worker/sandbox/playground_dry_run.py", f"{UNIT}/sandbox/test_playground.py"): (
        ("sandbox: scripts get no settings", "            env=environment(server),\n", ""),
        ("sandbox: what scripts print is bounded", "(end + piece)[-MAX_OUTPUT:]", "end + piece"),
    ),
    ("worker/sandbox/playground_upload.py", f"{UNIT}/sandbox/test_playground.py"): (
        ("sandbox: a bomb that lies about its size", "file.read(member.file_size)", "file.read()"),
        ("sandbox: a bomb that tells its size", "for member in members) > MAX_BYTES", "for member in members) < 0"),
        ("sandbox: a bomb of entries", "archive.count(_LISTED) > MAX_ENTRIES", "False"),
        ("sandbox: a bomb without a bound", "if member.compress_type not in _METHODS", "if False"),
        ("sandbox: no way out of the folder", '".." not in path.parts', "True"),
        ("sandbox: no absolute path", "not path.is_absolute()", "True"),
        ("sandbox: no link", "if stat.S_ISLNK(member.external_attr >> 16)", "if False"),
    ),
    ("worker/sandbox/playground.py", f"{UNIT}/sandbox/test_playground.py"): (
        ("sandbox: no bundles from web pages", 'if "Origin" in request.headers', "if False"),
        ("sandbox: bundles are JSON", 'if request.content_type != "application/json"', "if False"),
        ("sandbox: bundles need the secret", "if not hmac.compare_digest(", "if False and hmac.compare_digest("),
        ("sandbox: the secret is long", "secrets.token_urlsafe(32)", "secrets.token_urlsafe(3)"),
        ("sandbox: the playground's names", "middlewares=[own_names(*names), ", "middlewares=["),
    ),
    ("worker/sandbox/graphene.py", f"{UNIT}/sandbox/test_http_server.py"): (
        ("sandbox: Graphene's names", "middlewares=[own_names(*names), ", "middlewares=["),
    ),
    ("worker/sandbox/http_server.py", f"{UNIT}/sandbox/test_http_server.py"): (
        (
            "sandbox: other hosts' names",
            'if host and ((host["name"] or "").lower() in known or _is_address(host))',
            "if True",
        ),
        ("sandbox: nothing beside a host's name", "_HOST.fullmatch(", "_HOST.search("),
    ),
    ("worker/sandbox/environment.py", f"{UNIT}/sandbox/test_environment.py"): (
        ("sandbox: no secret in links", '        "DEPLOYER_PLAYGROUND__PUBLIC_URL": playground,\n', ""),
    ),
    ("worker/adapters/overrides_file.py", f"{UNIT}/adapters/test_overrides_file.py"): (
        ("overrides file: size", "if len(data) > MAX_BYTES:", "if False:"),
        ("overrides file: what is read at all", "file.read(MAX_BYTES + 1)", "file.read()"),
        ("overrides file: values", "if self._values > MAX_VALUES:", "if False:"),
        (
            "overrides file: an alias counts",
            "self._repeated.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1",
            "1",
        ),
        ("overrides file: depth", "if self._depth == MAX_DEPTH:", "if False:"),
        ("overrides file: depth by aliases", "if depth > MAX_DEPTH:", "if False:"),
        ("overrides file: length of a number", "if len(node.value) > MAX_NUMBER:", "if False:"),
    ),
    ("worker/cli/bundle.py", f"{UNIT}/cli/test_bundle_command.py"): (
        ("bundle: a link is not replaced", "path.is_symlink() or (path.exists()", "(path.exists()"),
        ("bundle: a FIFO is not replaced", "path.exists() and not path.is_file()", "False"),
        (
            "bundle: a file is replaced as a whole",
            "_replace(path.name, bundle.data, path.parent)",
            "path.write_bytes(bundle.data)",
        ),
        ("bundle: a temporary name nobody knows", "secrets.token_hex(8)", "'a.zip.' + str(os.getpid())"),
        ("bundle: a temporary file is new", " | os.O_EXCL | os.O_NOFOLLOW", ""),
        ("bundle: no linked folder", "_FOLDER | os.O_NOFOLLOW", "_FOLDER"),
        ("bundle: no linked file", "_replace(file, data, opened[-1])", "(folder / name).write_bytes(data)"),
        ("bundle: - is stdout", 'output == "-" or os', "os"),
        ("bundle: stdout by another name", "os.path.samestat(Path(output).stat(), os.fstat(STDOUT))", "False"),
        ("bundle: stdout has the zip alone", "sys.stderr if to_stdout else sys.stdout", "sys.stdout"),
    ),
    ("worker/gateway/front_door.py", f"{UNIT}/gateway/test_front_door.py"): (
        ("gateway: HEAD", 'if method != "GET":', "if False:"),
        ("gateway: prefetch", 'if "prefetch" in', 'if "never" in'),
        ("gateway: called by a page", '!= "navigate":', '== "never":'),
        ("gateway: within a page", '!= "document":', '== "never":'),
        ("gateway: open requests are joined", "if newest and (not newest.is_final or", "if newest and (False or"),
        ("gateway: ended ones are joined for a while", "or now_ms - newest.ended_ms < again_ms)", "or True)"),
        ("gateway: the id of another token", "sha256(token.encode()).hexdigest(), last))", '"", last))'),
        ("gateway: the id of a later request", "hexdigest(), last))", 'hexdigest(), ""))'),
    ),
    ("worker/gateway/view.py", f"{UNIT}/gateway/test_view.py"): (
        ("gateway: whose request", "and self.packed_fingerprint == _fingerprint(", "or _fingerprint("),
        ("gateway: known statuses", "if entry.sequence <= known.sequence:", "if False:"),
        ("gateway: an id that comes again", "known.offset != entry.offset:", "False:"),
        ("gateway: the status that follows", "or known.sequence + 1 != int(head[2]) or", "or"),
        ("gateway: of the same record", " or not value.endswith(b'\"offset\":%d}}' % known.offset)", ""),
        ("gateway: gaps", "known.is_complete and entry.sequence == known.sequence + 1", "True"),
        ("gateway: how many are kept", "while len(self) > self._max_requests or", "while"),
        ("gateway: how many bytes are kept", " or self.bytes > self._max_bytes:", ":"),
        (
            "gateway: ended ones go first",
            "(self._final or self._open).values()",
            "(self._open or self._final).values()",
        ),
        ("gateway: fingerprints are compared once", "own.seen = max(own.seen, added)", "own.seen = 0"),
        ("gateway: fingerprints that come again", "self._added[partition] += 1", "pass"),
        ("gateway: users that are remembered", "while len(self._own) > MAX_USERS or", "while"),
        ("gateway: looking lets others run", "if number % SCANNED == 0:", "if False:"),
        ("gateway: lists are woken", "for partition in (entry.key[0], ALL):", "for partition in ():"),
        ("gateway: watchers leave", "events.discard(event)", "pass"),
        ("gateway: others' turns", "it.is_open and it.offset < entry.offset", "it.is_open"),
    ),
    ("worker/gateway/sessions.py", f"{UNIT}/gateway/test_sessions.py"): (
        ("gateway: sessions end", "return self._clock() >= session.expires", "return False"),
        ("gateway: sessions of others' making", '"verify_exp": False}', '"verify_exp": False, "verify_aud": False}'),
        (
            "gateway: scripts read no session",
            "httponly=True,\n            samesite",
            "httponly=False,\n            samesite",
        ),
        (
            "gateway: sessions over TLS",
            "secure=self._is_secure,\n            httponly",
            "secure=False,\n            httponly",
        ),
        (
            "gateway: SameSite",
            'httponly=True,\n            samesite="Lax",',
            "httponly=True,",
            f"{UNIT}/gateway/test_portal.py",
        ),
        ("gateway: other hosts set no session", '"__Host-playground" if', '"playground" if'),
        ("gateway: how many requests a session knows", "(made, *others)[:MAX_MADE]", "(made, *others)"),
    ),
    ("worker/gateway/service.py", f"{UNIT}/gateway/test_portal.py"): (
        ("gateway: publishing once at a time", "if task is None:", "if True:", f"{UNIT}/gateway/test_portal.py"),
        ("gateway: open requests of a user", "if open_ones >= most:", "if False:"),
        ("gateway: rate of a user", "if not limiter.has_capacity():", "if False:"),
        ("gateway: Kafka away", "if publisher is None or not self.reader.is_connected:", "if publisher is None:"),
        (
            "gateway: foreign requests",
            "if entry.belongs_to(session.user_id) or session.is_admin:",
            "if True:",
            f"{UNIT}/gateway/test_pages.py",
        ),
        (
            "gateway: roles that are active",
            'it.get("name") == name and it.get("active") is True',
            'it.get("name") == name',
            f"{UNIT}/gateway/test_service.py",
        ),
        (
            "gateway: keys come with the same thing",
            "if known not in (None, wanted):",
            "if False:",
            f"{UNIT}/gateway/test_api.py",
        ),
    ),
    ("worker/gateway/routes.py", f"{UNIT}/gateway/test_pages.py"): (
        (
            "gateway: others' pages",
            "        self._same_origin(request)\n        session = await",
            "        session = await",
        ),
        (
            "gateway: others' pages log nobody out",
            "        self._same_origin(request)\n        response = see",
            "        response = see",
        ),
        ("gateway: sites", 'site not in (None, "same-origin", "none") or', ""),
        ("gateway: origins", " or (site is None and origin not in (None, self._origin))", ""),
        (
            "gateway: only administrators act",
            "if not session.is_admin or found.entry is None:",
            "if found.entry is None:",
        ),
        ("gateway: only administrators see what waits", "if not session.is_admin:", "if False:"),
        ("gateway: only administrators see all", 'return session.is_admin and "all"', 'return "all"'),
        ("gateway: only owners deploy again", "or not found.entry.belongs_to(session.user_id) or", "or"),
        (
            "gateway: streams of a user",
            "if followed >= self._settings.max_streams_per_user:",
            "if False:",
            f"{UNIT}/gateway/test_api.py",
        ),
        (
            "gateway: streams of all",
            "if sum(map(len, self._streams.values())) >= self._settings.max_streams:",
            "if False:",
            f"{UNIT}/gateway/test_api.py",
        ),
        ("gateway: keys", "if len(key) > MAX_KEY or not", "if not", f"{UNIT}/gateway/test_api.py"),
        ("gateway: long polls", "if seconds <= default:", "if True:", f"{UNIT}/gateway/test_api.py"),
        (
            "gateway: senders that leave",
            " or request.transport is None:\n                break",
            ":\n                break",
            "tests/component/gateway/test_slow_readers.py",
        ),
        (
            "gateway: streams that are cut off",
            "STREAMS_CUT_OFF.inc()",
            "pass",
            "tests/component/gateway/test_slow_readers.py",
        ),
        ("gateway: send_timeout", "send_timeout=SEND_SECONDS, ", "", "tests/component/gateway/test_slow_readers.py"),
        (
            "gateway: the portal's cookie where it is opened",
            "and refusal(request.method, request.headers):",
            "and False:",
            "tests/component/gateway/test_slow_readers.py",
        ),
        (
            "gateway: the prefix alone",
            "        if self._base:\n            app.router",
            "        if False:\n            app.router",
            f"{UNIT}/gateway/test_portal.py",
        ),
        (
            "gateway: sessions of another user",
            "if before and before.user_id == session.user_id:",
            "if before:",
            f"{UNIT}/gateway/test_portal.py",
        ),
        ("gateway: nonces", " or not 8 <= len(nonce) <= 64:", ":", f"{UNIT}/gateway/test_forms.py"),
        (
            "gateway: 204 after the end",
            'if is_over and request.headers.get("Last-Event-ID"',
            'if False and request.headers.get("Last-Event-ID"',
            f"{UNIT}/gateway/test_api.py",
        ),
    ),
    ("worker/gateway/bell.py", "tests/component/gateway/test_bell.py"): (
        ("bell: not of a past", 'auto_offset_reset="latest"', 'auto_offset_reset="earliest"'),
        (
            "bell: what was told is committed",
            "await consumer.commit({_place(records[0]): records[0].offset + 1})",
            "pass",
        ),
        ("bell: a group of its own", "group_id=notification_group(kafka)", "group_id=None"),
    ),
    ("worker/gateway/operations.py", "tests/component/gateway/test_operations.py"): (
        ("gateway: whose record is sent again", " or record.key != key:", ":"),
    ),
    ("worker/gateway/reader.py", "tests/component/gateway/test_operations.py"): (
        ("gateway: only what is committed", 'isolation_level="read_committed"', 'isolation_level="read_uncommitted"'),
    ),
    ("worker/gateway/bell.py", f"{UNIT}/gateway/test_bell.py"): (
        ("bell: what is never taken is given up", "for attempt in range(ATTEMPTS):", "for attempt in range(1000):"),
        (
            "bell: whatever fails",
            "except Exception as error:  # noqa: BLE001 - whatever",
            "except KafkaError as error:  #",
        ),
        ("bell: pauses between reads grow", "PAUSE_SECONDS * 2**failures", "PAUSE_SECONDS"),
        (
            "bell: one notification fails",
            "except Exception as error:  # noqa: BLE001 - one",
            "except KafkaError as error:  #",
        ),
        (
            "bell: Kafka is away",
            "except (KafkaError, TimeoutError, OSError):\n            raise",
            "except ZeroDivisionError:\n            raise",
        ),
        ("bell: pauses grow", "PAUSE_SECONDS * 2 ** (attempt - 1)", "PAUSE_SECONDS"),
        ("bell: whose it is", "user/{quote(user_id, safe='')}", "user/{user_id}"),
        ("bell: long addresses", "url if len(url) <= MAX_URL else self._public_url", "url"),
    ),
    ("worker/gateway/answers.py", f"{UNIT}/gateway/test_portal.py"): (
        ("gateway: the portal's cookie alone reads", 'if name == "authToken":', "if False:"),
        ("gateway: MAX_WAIT", "min(float(found[1]), MAX_WAIT)", "float(found[1])", f"{UNIT}/gateway/test_api.py"),
        ("gateway: ids of Graphene's", "if not _UUID.fullmatch(text):", "if False:"),
    ),
    ("worker/observability/telemetry.py", f"{UNIT}/gateway/test_traces.py"): (
        ("traces: a click's own", "if Spans.tracer else _ANSWERING.get()", "if False else _ANSWERING.get()"),
        (
            "traces: no nonsense is passed on",
            "traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None",
            "traceparent",
        ),
    ),
    ("worker/gateway/connection.py", f"{UNIT}/gateway/test_limits.py"): (
        ("gateway: bodies", "MAX_BODY = 64 * 1024", "MAX_BODY = 64 * 1024 * 1024"),
        ("gateway: heads", "if self._head >= MAX_HEAD:", "if False:"),
        ("gateway: bodies are no heads", "elif not is_body and", "elif"),
        ("gateway: unread requests of all", "while self.total > MAX_UNREAD:", "while False:"),
        (
            "gateway: read requests do not count",
            "self._unread.forget(self)\n\n    def cut_off",
            "pass\n\n    def cut_off",
        ),
        ("gateway: echoes", "if isinstance(resp, web.HTTPException):", "if False:"),
        (
            "gateway: headers of what is no HTTP",
            "add_headers(request, response)\n        response.force",
            "response.force",
        ),
    ),
    ("worker/gateway/headers.py", f"{UNIT}/gateway/test_limits.py"): (
        ("gateway: versions", '"Server": "playground-deployer",', ""),
    ),
    ("worker/gateway/app.py", f"{UNIT}/gateway/test_app.py"): (
        ("gateway: BUILDS", "        async with self._places:\n", "        if True:\n"),
        ("gateway: ready while it stops", "if stop.is_set():", "if False:"),
        ("gateway: ready with what Kafka grants", "if access.problem:", "if False:"),
        ("gateway: ready once all is read", "if not reader.is_complete:", "if False:"),
        ("gateway: ready once it can write", "if publisher.get() is None:", "if False:"),
    ),
    ("worker/gateway/downloads.py", "tests/component/gateway/test_slow_readers.py"): (
        ("gateway: downloads of a user", "if self._of[user_id] >= MAX_DOWNLOADS_PER_USER:", "if False:"),
        ("gateway: downloads of all", "if self._of.total() >= MAX_DOWNLOADS:", "if False:"),
        (
            "gateway: downloads that nobody reads",
            "async with asyncio.timeout(CHUNK_SECONDS):\n                await response.write(",
            "async with asyncio.timeout(None):\n                await response.write(",
        ),
    ),
    ("worker/gateway/forms.py", f"{UNIT}/gateway/test_forms.py"): (
        ("gateway: forms' charsets", '(charset or "utf-8").lower() not in _CHARSETS', "False"),
        ("gateway: forms' types", "if kind not in _TYPES or", "if"),
        (
            "gateway: forms are UTF-8",
            "except UnicodeDecodeError:\n        raise FormError",
            "except ZeroDivisionError:\n        raise FormError",
        ),
        ("gateway: fields of a form", "if len(parts) > MAX_FIELDS:", "if False:"),
        ("gateway: forms that are cut short", 'parts.pop()[:2] != b"--"', "not parts.pop()"),
    ),
    ("worker/gateway/http.py", f"{UNIT}/gateway/test_pages.py"): (
        ("gateway: headers", "            add_headers(request, response)", "            pass"),
        ("gateway: lines", "max_line_size=MAX_LINE,", "", f"{UNIT}/gateway/test_limits.py"),
        ("gateway: number of headers", "max_headers=MAX_HEADERS,", "", f"{UNIT}/gateway/test_limits.py"),
        ("gateway: slow connections count", "2 * IDLE_SECONDS,", "IDLE_SECONDS / 2,", f"{UNIT}/gateway/test_limits.py"),
        ("gateway: resting connections", "if not handler.is_resting:", "if True:", f"{UNIT}/gateway/test_limits.py"),
        (
            "gateway: bodies that are none",
            "except web.RequestPayloadError:",
            "except ZeroDivisionError:",
            f"{UNIT}/gateway/test_limits.py",
        ),
        ("gateway: slow connections", "now - known[handler] > IDLE_SECONDS", "False", f"{UNIT}/gateway/test_limits.py"),
        (
            "gateway: many connections",
            "len(opened) - MAX_CONNECTIONS",
            "0",
            f"{UNIT}/gateway/test_limits.py",
        ),
        (
            "gateway: slow bodies",
            "asyncio.timeout(BODY_SECONDS)",
            "asyncio.timeout(None)",
            f"{UNIT}/gateway/test_limits.py",
        ),
    ),
    ("worker/cli/sandbox.py", f"{UNIT}/cli/test_sandbox.py"): (
        ("sandbox: no short secret", "{16,}", "*"),
        (
            "sandbox: bundles of this machine alone",
            "if IPv4Address(host).is_loopback else None",
            "if not host else None",
        ),
    ),
}


def mutants() -> Iterator[Mutant]:
    """All of them."""
    for (file, tests), rows in ROWS.items():
        for guard, old, new, *others in rows:
            yield Mutant(guard, file, old, new, others[0] if others else tests)
