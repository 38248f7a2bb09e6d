package dev.imago.cli;

import dev.imago.Commit;
import dev.imago.CommitException;
import dev.imago.OpenOptions;
import dev.imago.ReferenceFailedException;
import dev.imago.filter.FilterImage;
import dev.imago.image.Image;
import dev.imago.storage.StorageLockedException;
import java.io.IOException;

/** {@code commit}: brings what an image holds into the one that it stands on. */
final class CommitCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    new Option('b', "base", true),
    new Option('d', "drop", false),
    new Option('r', "rate-limit", true),
    new Option('t', "cache", true),
    Option.flag('p'),
    Option.flag('q'),
    Option.value("progress"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private CommitCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = null;
    String base = null;
    String cache = "writeback";
    long rate = 0;
    boolean drop = false;
    boolean quiet = false;
    boolean imageOpts = false;
    ProgressOutput.Style style = ProgressOutput.Style.NONE;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "commit");
        }
        case "f" -> format = options.value();
        case "base" -> base = options.value();
        case "drop" -> drop = true;
        case "rate-limit" ->
            rate = Size.require(terminal, "rate limit", options.value(), 0, Long.MAX_VALUE);
        case "cache" -> cache = options.value();
        case "p" -> style = ProgressOutput.Style.HUMAN;
        case "q" -> quiet = true;
        case "progress" -> style = ProgressOutput.style(options.value());
        case "object" -> terminal.secrets().add(options.value());
        default -> imageOpts = true;
      }
    }
    String typed = options.onlyFile().typed();
    CacheMode mode = CacheMode.target(cache);
    Source source = Source.of(typed, imageOpts, format);
    FileName name = source.name();
    OpenOptions how = source.options(terminal.secrets()).direct(mode.direct()).sync(mode.sync());
    boolean filtered;
    try (Image image = Opening.image(name, how.writable(true))) {
      filtered = image instanceof FilterImage;
      if (source.format() == null && image.format().equals("raw")) {
        Opening.warnOfProbing(terminal, name);
      }
    }
    var progress =
        new ProgressOutput(terminal, "commit", quiet ? ProgressOutput.Style.NONE : style, 1);
    Commit commit =
        Commit.of(name.place(), Opening.opener(name))
            .options(how)
            .keep(drop || filtered) // qemu-img leaves what stands below a filter as it is
            .rate(rate)
            .progress(progress);
    if (base != null) {
      // qemu-img leaves the image as it is whenever a base is named, even if it is the next one.
      commit = commit.into(base).keep(true);
    }
    try {
      run(commit, progress);
    } catch (CommitException e) {
      if (base == null) {
        throw e;
      }
      // With a base there is one thing only that can be wrong; the library names the file.
      throw new Failure(
          "Did not find '" + base + "' in the backing chain of '" + name.typed() + "'", 1, e);
    }
    if (!quiet) {
      terminal.line("Image committed.");
    }
    return 0;
  }

  private static void run(Commit commit, ProgressOutput progress) throws IOException {
    boolean done = false;
    try {
      progress.begin();
      commit.run();
      progress.end();
      done = true;
    } catch (ReferenceFailedException e) {
      // The image itself could be opened: this is the one that is to be written to.
      throw e.getCause() instanceof StorageLockedException locked ? locked : e;
    } finally {
      if (!done) {
        progress.stop();
      }
    }
  }
}
