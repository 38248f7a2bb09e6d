package dev.imago.qcow2;

import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Stands for a data file that the caller did not want opened. Knows nothing, holds nothing. */
final class AbsentDataFile implements Storage {
  private final String image;

  AbsentDataFile(String image) {
    this.image = image;
  }

  private IOException absent() {
    return new IOException(image + ": its data file was not opened, so guest data is not at hand");
  }

  @Override
  public String name() {
    return image + " (data file not opened)";
  }

  @Override
  public boolean readOnly() {
    return true;
  }

  @Override
  public int requestAlignment() {
    return 1;
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    throw absent();
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    throw absent();
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    throw absent();
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    throw absent();
  }

  @Override
  public Run run(long hostOffset, long maxLength) {
    return new Run(true, maxLength);
  }

  @Override
  public long size() {
    return Long.MAX_VALUE;
  }

  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    throw absent();
  }

  @Override
  public void flush() {}

  @Override
  public void close() {}
}
