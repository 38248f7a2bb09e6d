package dev.imago.cli;

import dev.imago.cli.IoVerb.Needs;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Every command of {@code io}, in the order of its help. */
final class IoVerbs {
  private static final String NONE = "";

  static final List<IoVerb> ALL =
      List.of(
          verb("abort", NONE, "", "simulate a program crash using abort(3)", 0, 0)
              .body(IoSystem::abort),
          image("aio_flush", NONE, "", "completes all outstanding aio requests", 0, 0)
              .body((io, _) -> io.requests().await()),
          image(
                  "aio_read",
                  NONE,
                  "[-Ciqv] [-P pattern] off len [len..]",
                  "asynchronously reads a number of bytes",
                  2,
                  -1)
              .body(IoRead::later),
          writable(
                  "aio_write",
                  NONE,
                  "[-Cfiquz] [-P pattern] off len [len..]",
                  "asynchronously writes a number of bytes",
                  2,
                  -1)
              .body(IoWrite::later),
          image("alloc", "a", "offset [count]", "checks if offset is allocated in the file", 1, 2)
              .body(IoDisk::alloc),
          image(
                  "break",
                  NONE,
                  "event tag",
                  "sets a breakpoint on event and tags the stopped request as tag",
                  2,
                  2)
              .body(IoBreak::set),
          image("close", "c", "", "close the current open file", 0, 0).body(IoOpen::close),
          writable(
                  "discard",
                  "d",
                  "[-Cq] off len",
                  "discards a number of bytes at a specified offset",
                  2,
                  -1)
              .body(IoDisk::discard),
          image("flush", "f", "", "flush all in-core file state to disk", 0, 0).body(IoDisk::flush),
          verb("help", "?", "[command]", "help for one or all commands", 0, 1).body(IoSystem::help),
          image("info", "i", "", "prints information about the current file", 0, 0)
              .body(IoDisk::info),
          image("length", "l", "", "gets the length of the current file", 0, 0)
              .body(IoDisk::length),
          // QEMU's help has a second blank where arguments would stand.
          image("map", NONE, " ", "prints the allocated areas of a file", 0, 0).body(IoDisk::map),
          verb(
                  "open",
                  "o",
                  "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
                  "open the file specified by path",
                  1,
                  -1)
              .body(IoOpen::open),
          verb("quit", "q", "", "exit the program", 0, -1).body(IoSystem::quit),
          image(
                  "read",
                  "r",
                  "[-abCqv] [-P pattern [-s off] [-l len]] off len",
                  "reads a number of bytes at a specified offset",
                  2,
                  -1)
              .body(IoRead::read),
          image(
                  "readv",
                  NONE,
                  "[-Cqv] [-P pattern] off len [len..]",
                  "reads a number of bytes at a specified offset",
                  2,
                  -1)
              .body(IoRead::vectored),
          image("remove_break", NONE, "tag", "remove a breakpoint by tag", 1, 1)
              .body(IoBreak::remove),
          image(
                  "reopen",
                  NONE,
                  "[(-r|-w)] [-c cache] [-o options]",
                  "reopens an image with new options",
                  0,
                  -1)
              .body(IoOpen::reopen),
          image("resume", NONE, "tag", "resumes the request tagged as tag", 1, 1)
              .body(IoBreak::resume),
          verb("sigraise", NONE, "signal", "raises a signal", 1, 1).body(IoSystem::sigraise),
          verb("sleep", NONE, "", "waits for the given value in milliseconds", 1, 1)
              .body(IoSystem::sleep),
          writable(
                  "truncate",
                  "t",
                  "[-m prealloc_mode] off",
                  "truncates the current file at the given offset",
                  1,
                  3)
              .body(IoDisk::truncate),
          image("wait_break", NONE, "tag", "waits for the suspension of a request", 1, 1)
              .body(IoBreak::await),
          writable(
                  "write",
                  "w",
                  "[-bcCfnquz] [-P pattern | -s source_file] off len",
                  "writes a number of bytes at a specified offset",
                  2,
                  -1)
              .body(IoWrite::write),
          writable(
                  "writev",
                  NONE,
                  "[-Cfq] [-P pattern] off len [len..]",
                  "writes a number of bytes at a specified offset",
                  2,
                  -1)
              .body(IoWrite::vectored));

  private IoVerbs() {}

  /** A command that lacks only what it does. */
  private interface Headed {
    IoVerb body(IoVerb.Body body);
  }

  private static Headed verb(
      String name, String alias, String arguments, String summary, int least, int most) {
    return body -> new IoVerb(name, alias, arguments, summary, least, most, Needs.NOTHING, body);
  }

  private static Headed image(
      String name, String alias, String arguments, String summary, int least, int most) {
    return body -> new IoVerb(name, alias, arguments, summary, least, most, Needs.IMAGE, body);
  }

  private static Headed writable(
      String name, String alias, String arguments, String summary, int least, int most) {
    return body ->
        new IoVerb(name, alias, arguments, summary, least, most, Needs.WRITABLE_IMAGE, body);
  }

  /** The command of that name, short or long, or null. */
  static @Nullable IoVerb find(String name) {
    for (IoVerb verb : ALL) {
      if (verb.name().equals(name) || (!verb.alias().isEmpty() && verb.alias().equals(name))) {
        return verb;
      }
    }
    return null;
  }
}
