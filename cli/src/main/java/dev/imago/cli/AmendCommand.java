package dev.imago.cli;

import dev.imago.Amend;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.UnsupportedFeatureException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code amend}: changes what an image was made with. */
final class AmendCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    new Option('o', "options", true),
    new Option('t', "cache", true),
    Option.flag('p'),
    Option.flag('q'),
    Option.flag("force"),
    Option.value("progress"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private final Terminal terminal;
  private final StringBuilder list = new StringBuilder();
  private @Nullable String format;
  private String cache = "writeback";
  private boolean force;
  private boolean imageOpts;
  private boolean quiet;

  /** The progress was begun; its end is told in any case then. */
  private boolean begun;

  private ProgressOutput.Style style = ProgressOutput.Style.NONE;

  private AmendCommand(Terminal terminal) {
    this.terminal = terminal;
  }

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    AmendCommand command = new AmendCommand(terminal);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "amend");
      }
      command.take(option, options.value());
    }
    if (command.list.isEmpty()) {
      throw new UsageException("Must specify options (-o)");
    }
    var progress =
        new ProgressOutput(
            terminal, "amend", command.quiet ? ProgressOutput.Style.NONE : command.style, 1);
    try {
      command.run(options.operands(), progress);
    } finally {
      if (!command.begun) {
        progress.stop();
      }
    }
    return 0;
  }

  private void take(String option, String value) throws Failure {
    switch (option) {
      case "f" -> format = value;
      case "options" -> CreateCommand.append(list, value);
      case "cache" -> cache = value;
      case "p" -> style = ProgressOutput.Style.HUMAN;
      case "q" -> quiet = true;
      case "force" -> force = true;
      case "progress" -> style = ProgressOutput.style(value);
      case "object" -> terminal.secrets().add(value);
      case "image-opts" -> imageOpts = true;
      default -> throw GetOpt.notSupported(option);
    }
  }

  private void run(List<String> operands, ProgressOutput progress) throws Exception {
    boolean help = OptionList.asksForHelp(list.toString());
    if (help && format != null) {
      CreateCommand.requireFormat(format);
      describe(format);
      return;
    }
    if (operands.size() != 1) {
      throw new Failure("Expecting one image file name");
    }
    CacheMode mode = CacheMode.target(cache);
    Source source = Source.of(operands.getFirst(), imageOpts, format);
    OpenOptions how =
        source.options(terminal.secrets()).writable(true).direct(mode.direct()).sync(mode.sync());
    try (Image image = Opening.image(source.name(), how)) {
      if (source.format() == null && image.format().equals("raw")) {
        Opening.warnOfProbing(terminal, source.name());
      }
      if (help) {
        describe(image.format());
        return;
      }
      requireAmendable(image.format());
      AmendParameters parameters = new AmendParameters(terminal, force);
      parameters.set(list.toString());
      amend(image, source.name(), parameters, progress);
    }
  }

  private void describe(String name) throws Failure {
    requireAmendable(name);
    terminal.print(FormatOption.describeAmendable());
  }

  private static void requireAmendable(String name) throws Failure {
    if (!name.equals("qcow2")) {
      throw new Failure("Format driver '" + name + "' does not support option amendment");
    }
  }

  private void amend(
      Image image, FileName name, AmendParameters parameters, ProgressOutput progress)
      throws Exception {
    begun = true;
    try {
      progress.begin();
      Amend amend =
          parameters
              .toLibrary(image, name)
              // As qemu-img: each step that begins anew is told.
              .progress(
                  (done, total) -> {
                    if (done == 0) {
                      progress.begin();
                    } else {
                      progress.at(done, total);
                    }
                  });
      amend.check(image);
      parameters.changeKeys(image);
      amend.run(image);
    } catch (IllegalArgumentException e) {
      throw new Failure(String.valueOf(e.getMessage()), 1, e);
    } catch (UnsupportedFeatureException e) {
      if (e.field().equals("nb_snapshots")) {
        throw new Failure(e.problem(), 1, e);
      }
      throw e;
    } finally {
      progress.end();
    }
  }
}
