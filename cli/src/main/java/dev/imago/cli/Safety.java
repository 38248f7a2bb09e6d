package dev.imago.cli;

import dev.imago.Images;
import dev.imago.Inspection;
import dev.imago.OpenOptions;
import dev.imago.image.References;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * {@code --safe}: images are from strangers. What an image names is not opened, and an image that
 * names anything is refused as a whole; no file is taken for raw unless {@code -f raw} says so;
 * tables are kept small. What a person names on the command line is opened. docs/security.md has
 * the list.
 *
 * <p>A switch of the process, like the program's name: nothing that opens files may forget it.
 */
final class Safety {
  /** Memory for cached metadata of an image, in bytes. */
  private static final long CACHE = 4 << 20;

  private static boolean known;
  private static volatile boolean on;

  private Safety() {}

  /**
   * A command begins. The system property {@code imago.safe} (the launcher sets it from IMAGO_SAFE)
   * is the default.
   *
   * @param option whether {@code --safe} is an option: qemu-img has none
   */
  static void begin(boolean option) {
    known = option;
    on = Boolean.getBoolean("imago.safe");
  }

  /** Whether a word of the command line is the option; if so, it holds from now on. */
  static boolean isOption(String word) {
    if (known && word.equals("--safe")) {
      on = true;
      return true;
    }
    return false;
  }

  static boolean on() {
    return on;
  }

  /** What an image may name and have opened. */
  static References references() {
    return on ? References.deny() : References.anywhere();
  }

  /** What a new image may name: {@code backing} was named on the command line. */
  static References referencesTo(@Nullable Path backing) {
    if (!on) {
      return References.anywhere();
    }
    Path folder = backing == null ? null : backing.toAbsolutePath().getParent();
    return folder == null ? References.deny() : References.under(folder);
  }

  /** How any image is opened. */
  static OpenOptions options() {
    OpenOptions options = OpenOptions.of(references());
    return on ? options.cacheBytes(CACHE) : options.resolver(new Exports(null));
  }

  /**
   * Refuses a backing file's name, as it is to stand in an image; does nothing without {@code
   * --safe}.
   *
   * @param image that is to name it
   * @param format null to probe
   * @param opened false if the name alone matters, because the file is not opened now
   */
  static void vetBacking(Path image, String name, @Nullable String format, boolean opened)
      throws Failure {
    if (!on) {
      return;
    }
    String protocol = FileName.protocol(name);
    if (!protocol.isEmpty() && !protocol.equals("file")) {
      throw refused(FileName.of(name), "a " + protocol + ": name is no file", 1);
    }
    if (opened) {
      String path = Images.resolveName(image, FileName.of(name).literal()).toString();
      vet(new FileName(path, path), format, 1);
    }
  }

  /** Refuses an image that is not to be opened; does nothing without {@code --safe}. */
  static void vet(FileName name, @Nullable String format, int exitCode) throws Failure {
    if (!on) {
      return;
    }
    if (FileName.protocol(name.typed()).equals("json")) {
      throw refused(name, "a json: name can name anything", exitCode);
    }
    Verdict verdict =
        Opening.attempt(
            name,
            exitCode,
            path -> {
              // Without a lock: whoever opens the image next takes it, and tells of it.
              Inspection found = Images.inspect(path, format, true);
              return Verdict.of(found, format, Signatures.of(path));
            });
    if (!verdict.accepted()) {
      throw refused(name, verdict.reasons().getFirst(), exitCode);
    }
  }

  private static Failure refused(FileName name, String why, int exitCode) {
    return new Failure(
        "Could not open '" + name.typed() + "': refused by --safe: " + why, exitCode);
  }
}
