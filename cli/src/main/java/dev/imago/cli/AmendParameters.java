package dev.imago.cli;

import dev.imago.Amend;
import dev.imago.Images;
import dev.imago.Inspection;
import dev.imago.Keys;
import dev.imago.image.Image;
import dev.imago.image.LuksOptions;
import dev.imago.image.Secret;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** What {@code amend -o} asks for, as it was typed: checked with QEMU's words. */
final class AmendParameters {
  private static final String ENCRYPTION = "encrypt.";
  private static final int MAX_SLOT = 7;

  private final Terminal terminal;
  private final boolean force;
  private final Map<String, String> values = new HashMap<>();

  /**
   * Nothing is asked for yet.
   *
   * @param force whether the last passphrase may be taken away
   */
  AmendParameters(Terminal terminal, boolean force) {
    this.terminal = terminal;
    this.force = force;
  }

  /** Takes over what an {@code -o} says. */
  void set(String list) throws Failure {
    for (OptionList.Pair pair : OptionList.pairs(list)) {
      FormatOption option = find(FormatOption.AMENDABLE, pair.name());
      if (option == null) {
        boolean ofTheFile = pair.name().equals("nocow") || pair.name().equals("extent_size_hint");
        boolean creates = !ofTheFile && find(FormatOption.of("qcow2"), pair.name()) != null;
        throw new Failure(
            "Invalid parameter '"
                + pair.name()
                + "'"
                + (creates ? "\nThis option is only supported for image creation" : ""));
      }
      values.put(pair.name(), option.normal(terminal, pair.value()));
    }
  }

  private static @Nullable FormatOption find(FormatOption[] options, String name) {
    for (FormatOption option : options) {
      if (option.name().equals(name)) {
        return option;
      }
    }
    return null;
  }

  /** The library's form of it, passphrases excepted. */
  Amend toLibrary(Image image, FileName name) throws Failure, IOException {
    Amend amend = Amend.nothing();
    String compat = values.get("compat");
    if (compat != null) {
      amend = amend.version(version(compat));
    }
    requireSameBacking(name);
    if (changesKeys()) {
      Keys.check(image);
    }
    String lazy = values.get("lazy_refcounts");
    if (lazy != null) {
      amend = amend.lazyRefcounts(OptionList.isOn("lazy_refcounts", lazy));
    }
    String bits = values.get("refcount_bits");
    if (bits != null) {
      amend = amend.refcountBits(refcountBits(Long.parseLong(bits)));
    }
    String dataFile = values.get("data_file");
    if (dataFile != null) {
      if (!dataFile.isEmpty()) {
        CreateParameters.requireUnambiguous(name.place(), dataFile);
      }
      amend = amend.dataFile(dataFile);
    }
    String raw = values.get("data_file_raw");
    if (raw != null) {
      amend = amend.dataFileRaw(OptionList.isOn("data_file_raw", raw));
    }
    // To qemu-img a size of 0 is none.
    long size = Long.parseLong(values.getOrDefault("size", "0"));
    return size == 0 ? amend : amend.size(size);
  }

  private static int version(String compat) throws Failure {
    return switch (compat) {
      case "0.10", "v2" -> 2;
      case "1.1", "v3" -> 3;
      default -> throw new Failure("Unknown compatibility level " + compat);
    };
  }

  private static int refcountBits(long bits) throws Failure {
    if (bits < 1 || bits > 64 || Long.bitCount(bits) != 1) {
      throw new Failure("Refcount width must be a power of two and may not exceed 64 bits");
    }
    return (int) bits;
  }

  /** Both may be repeated; changing them is the business of rebase. */
  private void requireSameBacking(FileName name) throws Failure, IOException {
    String file = values.get("backing_file");
    String backingFormat = values.get("backing_fmt");
    if (file == null && backingFormat == null) {
      return;
    }
    Inspection now = Images.inspect(name.path(), "qcow2", true);
    if (!Objects.equals(file, now.backingFile())
        || !Objects.equals(backingFormat, now.backingFormat())) {
      throw new Failure("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
    }
  }

  private boolean changesKeys() {
    return values.keySet().stream().anyMatch(name -> name.startsWith(ENCRYPTION));
  }

  /** Sets or takes away passphrases, if that is asked for. */
  void changeKeys(Image image) throws Failure, IOException {
    if (!changesKeys()) {
      return;
    }
    String state = values.get("encrypt.state");
    String slot = values.get("encrypt.keyslot");
    switch (state) {
      case null -> throw new Failure("Parameter 'state' is missing");
      case "active" -> addKey(image, slot);
      case "inactive" -> eraseKeys(image, slot);
      default -> throw new Failure("Parameter 'state' does not accept value '" + state + "'");
    }
  }

  private void addKey(Image image, @Nullable String slot) throws Failure, IOException {
    String id = values.get("encrypt.new-secret");
    if (id == null) {
      throw new Failure("'new-secret' is required to activate a keyslot");
    }
    if (values.containsKey("encrypt.old-secret")) {
      throw new Failure("'old-secret' must not be given when activating keyslots");
    }
    String time = values.get("encrypt.iter-time");
    long millis = time == null ? LuksOptions.DEFAULT_MILLIS : EncryptionParameters.millis(time);
    Keys.add(image, terminal.secrets().require(id), slot == null ? -1 : slot(slot), millis);
  }

  private void eraseKeys(Image image, @Nullable String slot) throws Failure, IOException {
    for (String name : new String[] {"new-secret", "iter-time"}) {
      if (values.containsKey(ENCRYPTION + name)) {
        throw new Failure("'" + name + "' must not be given when erasing keyslots");
      }
    }
    String id = values.get("encrypt.old-secret");
    Secret old = id == null ? null : terminal.secrets().require(id);
    if (slot != null && old != null) {
      Keys.erase(image, slot(slot), old, force);
    } else if (slot != null) {
      Keys.erase(image, slot(slot), force);
    } else if (old != null) {
      Keys.erase(image, old, force);
    } else {
      throw new Failure(
          "To erase keyslot(s), either explicit keyslot index or the password currently contained"
              + " in them must be given");
    }
  }

  private static int slot(String text) throws Failure {
    long slot = Long.parseLong(text);
    if (slot < 0 || slot > MAX_SLOT) {
      throw new Failure(
          "Invalid keyslot %d specified, must be between 0 and %d".formatted(slot, MAX_SLOT));
    }
    return (int) slot;
  }
}
