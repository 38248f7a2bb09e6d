package dev.imago.cli;

import dev.imago.OpenOptions;
import dev.imago.Snapshots;
import dev.imago.image.CorruptImageException;
import dev.imago.image.Image;
import dev.imago.image.NoSuchSnapshotException;
import dev.imago.image.Snapshot;
import dev.imago.image.UnsupportedFeatureException;
import java.io.IOException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code snapshot}: lists, makes, applies and deletes snapshots inside an image. */
final class SnapshotCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    new Option('l', "list", false),
    new Option('c', "create", true),
    new Option('a', "apply", true),
    new Option('d', "delete", true),
    Option.flag('q'),
    Option.flag('U', "force-share"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private SnapshotCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = null;
    String action = "";
    String snapshot = "";
    boolean forceShare = false;
    boolean imageOpts = false;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "snapshot");
        }
        case "f" -> format = options.value();
        case "list", "create", "apply", "delete" -> {
          if (!action.isEmpty()) {
            throw new UsageException("Cannot mix '-l', '-a', '-c', '-d'");
          }
          action = option;
          snapshot = options.value();
        }
        // There is nothing to be silent about.
        case "q" -> {}
        case "force-share" -> forceShare = true;
        case "object" -> terminal.secrets().add(options.value());
        case "image-opts" -> imageOpts = true;
        default -> throw GetOpt.notSupported(option);
      }
    }
    Source source = options.onlySource(imageOpts, format);
    FileName name = source.name();
    boolean writable = !action.isEmpty() && !action.equals("list");
    Opening.requireLocks(name, writable, forceShare);
    OpenOptions how = source.options(terminal.secrets()).writable(writable).forceShare(forceShare);
    try (Image image = Opening.image(name, writable ? how : how.withoutKey())) {
      if (writable && source.format() == null && image.format().equals("raw")) {
        Opening.warnOfProbing(terminal, name);
      }
      switch (action) {
        case "list" -> list(terminal, image);
        case "create" -> create(image, snapshot);
        case "apply" -> apply(image, snapshot);
        case "delete" -> delete(image, snapshot);
        default -> {}
      }
    }
    return 0;
  }

  private static void list(Terminal terminal, Image image) throws IOException {
    List<Snapshot> snapshots = Snapshots.list(image);
    if (!snapshots.isEmpty()) {
      StringBuilder text = new StringBuilder();
      SnapshotList.appendHuman(text, snapshots);
      terminal.print(text);
    }
  }

  private static void create(Image image, String name) throws IOException, Failure {
    String what = "Could not create snapshot '" + name + "': ";
    if (!Snapshots.supported(image)) {
      throw new Failure(what + "-95 (Operation not supported)");
    }
    try {
      Snapshots.create(image, name);
    } catch (UnsupportedFeatureException e) {
      boolean narrow = e.field().equals("refcount");
      String why = narrow ? "-22 (Invalid argument)" : "-95 (Operation not supported)";
      throw new Failure(what + why, 1, e);
    } catch (CorruptImageException e) {
      throw new Failure(what + Errors.text(e), 1, e);
    }
  }

  private static void apply(Image image, String snapshot) throws IOException, Failure {
    String what = "Could not apply snapshot '" + snapshot + "': ";
    if (!Snapshots.supported(image)) {
      throw new Failure(what + "Block driver does not support snapshots");
    }
    try {
      Snapshots.apply(image, snapshot);
    } catch (NoSuchSnapshotException e) {
      throw new Failure(what + "Failed to load snapshot: No such file or directory", 1, e);
    } catch (UnsupportedFeatureException e) {
      String why =
          switch (e.field()) {
            case "bitmaps" -> e.problem();
            case "refcount" -> "Failed to load snapshot: Invalid argument";
            default -> "Failed to load snapshot: Operation not supported";
          };
      throw new Failure(what + why, 1, e);
    } catch (CorruptImageException e) {
      throw new Failure(what + Errors.text(e), 1, e);
    }
  }

  /** Deletes the first snapshot of this name. Ids are not looked at, as in qemu-img. */
  private static void delete(Image image, String name) throws IOException, Failure {
    String what = "Could not delete snapshot '" + name + "': ";
    for (Snapshot snapshot : Snapshots.list(image)) {
      if (snapshot.name().equals(name)) {
        try {
          Snapshots.delete(image, snapshot.id());
        } catch (CorruptImageException e) {
          throw new Failure(what + Errors.text(e), 1, e);
        }
        return;
      }
    }
    throw new Failure(what + "snapshot not found");
  }

  /** Refuses an argument of {@code convert -l} that is a list of other names. */
  static void requireValid(String given) throws Failure {
    if (given.startsWith("snapshot.")) {
      for (OptionList.Pair pair : OptionList.pairs(given)) {
        if (!pair.name().equals("snapshot.id") && !pair.name().equals("snapshot.name")) {
          throw new Failure(
              "Failed in parsing snapshot param '"
                  + given
                  + "'\nhint: only snapshot.id and snapshot.name are known");
        }
      }
    }
  }

  /**
   * The id of the snapshot that {@code convert -l} asks for.
   *
   * @param given an id or a name, or {@code snapshot.id=ID,snapshot.name=NAME}
   */
  static String find(Image image, String given) throws IOException, Failure {
    @Nullable String id = null;
    @Nullable String name = null;
    boolean exact = given.startsWith("snapshot.");
    if (exact) {
      for (OptionList.Pair pair : OptionList.pairs(given)) {
        if (pair.name().equals("snapshot.id")) {
          id = pair.value();
        } else {
          name = pair.value();
        }
      }
    }
    if (!Snapshots.supported(image)) {
      throw new Failure(
          "Failed to load snapshot: Block format '"
              + image.format()
              + "' used by device '' does not support temporarily loading internal snapshots");
    }
    List<Snapshot> snapshots = Snapshots.list(image);
    for (Snapshot each : snapshots) {
      boolean sameId = exact ? id == null || id.equals(each.id()) : each.id().equals(given);
      if (sameId && (name == null || name.equals(each.name()))) {
        return each.id();
      }
    }
    for (Snapshot each : snapshots) {
      if (!exact && each.name().equals(given)) {
        return each.id();
      }
    }
    throw new Failure("Failed to load snapshot: Can't find snapshot");
  }
}
