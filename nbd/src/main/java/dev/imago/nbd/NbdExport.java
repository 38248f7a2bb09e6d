package dev.imago.nbd;

import dev.imago.image.Image;
import dev.imago.nbd.wire.Limits;
import dev.imago.nbd.wire.Text;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * An image as a server offers it. Immutable: each method with an argument returns a changed copy.
 *
 * <p>The image stays the caller's: the server never closes it. Its size must stay while it is
 * served; the export's is the one that it had when this was made.
 */
public final class NbdExport {
  private final String name;
  private final Image image;
  private String description = "";
  private boolean readOnly;
  private long offset;
  private long length;
  private List<String> bitmaps = List.of();
  private boolean allocationDepth;
  private boolean writeThrough;

  private NbdExport(String name, Image image) {
    this.name = name;
    this.image = image;
    this.length = image.size();
    this.readOnly = image.readOnly();
  }

  private NbdExport copy() {
    NbdExport copy = new NbdExport(name, image);
    copy.description = description;
    copy.readOnly = readOnly;
    copy.offset = offset;
    copy.length = length;
    copy.bitmaps = bitmaps;
    copy.allocationDepth = allocationDepth;
    copy.writeThrough = writeThrough;
    return copy;
  }

  /**
   * The whole image, writable if the image is.
   *
   * @param name by which clients ask for it: at most 4096 bytes of UTF-8 without NUL; empty for the
   *     default export
   * @throws IllegalArgumentException if a client could not ask for it
   */
  public static NbdExport of(String name, Image image) {
    requireText(name, "export name");
    return new NbdExport(name, image);
  }

  private static void requireText(String text, String what) {
    if (text.indexOf('\0') >= 0 || Text.bytes(text) > Limits.STRING) {
      throw new IllegalArgumentException(
          what + " must be at most " + Limits.STRING + " bytes long and have no NUL");
    }
  }

  /** By which clients ask for it. */
  public String name() {
    return name;
  }

  /** What is served. */
  public Image image() {
    return image;
  }

  /** A text for people: at most 4096 bytes of UTF-8 without NUL; empty for none. */
  public NbdExport description(String description) {
    requireText(description, "description");
    NbdExport copy = copy();
    copy.description = description;
    return copy;
  }

  /** A text for people, or empty. */
  public String description() {
    return description;
  }

  /** Refuses every change, even if the image could be written. */
  public NbdExport readOnly(boolean readOnly) {
    NbdExport copy = copy();
    copy.readOnly = readOnly || image.readOnly();
    return copy;
  }

  /** Whether every change is refused. */
  public boolean readOnly() {
    return readOnly;
  }

  /**
   * Serves a part of the image alone.
   *
   * @throws IndexOutOfBoundsException if it does not lie within the image
   */
  public NbdExport window(long offset, long length) {
    Objects.checkFromIndexSize(offset, length, image.size());
    NbdExport copy = copy();
    copy.offset = offset;
    copy.length = length;
    return copy;
  }

  /** Where in the image the export begins, in bytes. */
  public long offset() {
    return offset;
  }

  /** The export's size in bytes. */
  public long length() {
    return length;
  }

  /**
   * Lets clients ask which parts a dirty bitmap of the image calls dirty, as {@code
   * qemu:dirty-bitmap:NAME}.
   *
   * @param bitmap of the image or, if it has none of this name, of the nearest image in its backing
   *     chain that has
   */
  public NbdExport bitmap(String bitmap) {
    NbdExport copy = copy();
    copy.bitmaps = new ArrayList<>(bitmaps);
    copy.bitmaps.add(bitmap);
    return copy;
  }

  /** The bitmaps that clients may ask for. */
  public List<String> bitmaps() {
    return List.copyOf(bitmaps);
  }

  /** Lets clients ask which layer of the chain has what, as {@code qemu:allocation-depth}. */
  public NbdExport allocationDepth(boolean allocationDepth) {
    NbdExport copy = copy();
    copy.allocationDepth = allocationDepth;
    return copy;
  }

  /** Whether clients may ask which layer has what. */
  public boolean allocationDepth() {
    return allocationDepth;
  }

  /** Makes every change durable before it is answered, as if the client had asked for FUA. */
  public NbdExport writeThrough(boolean writeThrough) {
    NbdExport copy = copy();
    copy.writeThrough = writeThrough;
    return copy;
  }

  /** Whether every change is made durable before it is answered. */
  public boolean writeThrough() {
    return writeThrough;
  }
}
