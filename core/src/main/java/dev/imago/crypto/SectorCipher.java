package dev.imago.crypto;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.GeneralSecurityException;
import java.util.Arrays;
import java.util.concurrent.ConcurrentLinkedDeque;
import javax.crypto.Cipher;
import javax.crypto.spec.SecretKeySpec;
import org.jspecify.annotations.Nullable;

/**
 * Encrypts and decrypts runs of sectors of 512 bytes, each by its number. Safe for all threads.
 *
 * <p>All block cipher work is done by {@code AES/ECB/NoPadding} over many blocks at once, which is
 * what a JIT compiler turns into the processor's AES instructions; what a mode adds are exclusive
 * ors before and behind. Even CBC goes that way when it encrypts: sectors do not depend on each
 * other, so the n-th blocks of many sectors are encrypted together.
 */
public final class SectorCipher implements AutoCloseable {
  /** Length of a sector, in bytes. */
  public static final int SECTOR = 512;

  private static final int BLOCK = 16;
  private static final int BLOCKS = SECTOR / BLOCK;

  /** How much is done in one step, in sectors. */
  private static final int STEP = 128;

  /** Engines kept for later, each with 150 KiB. */
  private static final int KEPT = 16;

  private static final VarHandle LONGS =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

  private final CipherSpec spec;
  private final byte[] key;
  private final ConcurrentLinkedDeque<Engine> idle = new ConcurrentLinkedDeque<>();
  private volatile boolean closed;

  /**
   * Keeps a copy of the key.
   *
   * @param key {@link CipherSpec#keyBytes} bytes
   */
  public SectorCipher(CipherSpec spec, byte[] key) {
    if (key.length != spec.keyBytes()) {
      throw new IllegalArgumentException(key.length + " bytes of key for " + spec);
    }
    this.spec = spec;
    this.key = key.clone();
  }

  /** A copy of the key, to be overwritten by the caller. */
  byte[] key() {
    requireOpen();
    return key.clone();
  }

  /** Encrypts a buffer's remaining bytes where they are; its position stays. */
  public void encrypt(ByteBuffer buffer, long firstSector) {
    apply(true, buffer, firstSector);
  }

  /** Decrypts a buffer's remaining bytes where they are; its position stays. */
  public void decrypt(ByteBuffer buffer, long firstSector) {
    apply(false, buffer, firstSector);
  }

  private void apply(boolean encrypt, ByteBuffer buffer, long firstSector) {
    if (buffer.remaining() % SECTOR != 0) {
      throw new IllegalArgumentException(buffer.remaining() + " bytes are no whole sectors");
    }
    requireOpen();
    Engine engine = idle.pollFirst();
    try {
      if (engine == null) {
        engine = new Engine(spec, key);
      }
      long sector = firstSector;
      int end = buffer.limit();
      for (int at = buffer.position(); at < end; ) {
        int count = Math.min(STEP, (end - at) / SECTOR);
        engine.apply(encrypt, buffer, at, count, sector);
        at += count * SECTOR;
        sector += count;
      }
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException("AES works on whole blocks", e);
    }
    if (closed || idle.size() >= KEPT) {
      engine.wipe();
    } else {
      idle.addFirst(engine);
      if (closed) {
        wipeIdle();
      }
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("the key was wiped");
    }
  }

  /** Overwrites the key and all that was derived from it, as far as the JDK lets go of it. */
  @Override
  public void close() {
    closed = true;
    Arrays.fill(key, (byte) 0);
    wipeIdle();
  }

  private void wipeIdle() {
    for (Engine engine = idle.pollFirst(); engine != null; engine = idle.pollFirst()) {
      engine.wipe();
    }
  }

  /** Whether the key is gone: for tests. */
  boolean wiped() {
    boolean zero = true;
    for (byte b : key) {
      zero &= b == 0;
    }
    return closed && zero && idle.isEmpty();
  }

  /** The ciphers of one thread at a time, and its working memory. */
  private static final class Engine {
    private final CipherSpec spec;
    private final Cipher encryptor;
    private final Cipher decryptor;

    private final @Nullable Cipher essiv;

    /** Encrypts the tweaks of XTS; null with other modes. */
    private final @Nullable Cipher tweaks;

    private final byte[] in = new byte[STEP * SECTOR];
    private final byte[] out = new byte[STEP * SECTOR];
    private final byte[] iv = new byte[STEP * BLOCK];
    private final byte[] blocks = new byte[STEP * BLOCK];

    Engine(CipherSpec spec, byte[] key) throws GeneralSecurityException {
      this.spec = spec;
      boolean xts = spec.mode() == CipherSpec.Mode.XTS;
      int length = xts ? key.length / 2 : key.length;
      encryptor = aes(Cipher.ENCRYPT_MODE, key, 0, length);
      decryptor = aes(Cipher.DECRYPT_MODE, key, 0, length);
      Hash hash = spec.ivHash();
      if (hash != null) {
        byte[] salt = hash.digest().digest(key);
        essiv = aes(Cipher.ENCRYPT_MODE, salt, 0, salt.length);
        Arrays.fill(salt, (byte) 0);
      } else {
        essiv = null;
      }
      tweaks = xts ? aes(Cipher.ENCRYPT_MODE, key, length, length) : null;
    }

    private static Cipher aes(int direction, byte[] key, int from, int length)
        throws GeneralSecurityException {
      Cipher cipher = Cipher.getInstance("AES/ECB/NoPadding");
      cipher.init(direction, new SecretKeySpec(key, from, length, "AES"));
      return cipher;
    }

    void apply(boolean encrypt, ByteBuffer buffer, int at, int count, long firstSector)
        throws GeneralSecurityException {
      makeVectors(count, firstSector);
      int length = count * SECTOR;
      buffer.get(at, in, 0, length);
      if (spec.mode() == CipherSpec.Mode.XTS) {
        xts(encrypt ? encryptor : decryptor, count);
      } else if (encrypt) {
        encryptCbc(count);
      } else {
        decryptCbc(count);
      }
      buffer.put(at, out, 0, length);
    }

    private void makeVectors(int count, long firstSector) throws GeneralSecurityException {
      for (int i = 0; i < count; i++) {
        long number = firstSector + i;
        LONGS.set(iv, i * BLOCK, spec.iv() == CipherSpec.Iv.PLAIN ? number & 0xffff_ffffL : number);
        LONGS.set(iv, i * BLOCK + 8, 0L);
      }
      for (Cipher cipher : new Cipher[] {essiv, tweaks}) {
        if (cipher != null) {
          cipher.update(iv, 0, count * BLOCK, blocks, 0);
          System.arraycopy(blocks, 0, iv, 0, count * BLOCK);
        }
      }
    }

    /** The tweak of each block is the one before, times x in GF(2^128). */
    private void xts(Cipher cipher, int count) throws GeneralSecurityException {
      for (int i = 0; i < count; i++) {
        long low = (long) LONGS.get(iv, i * BLOCK);
        long high = (long) LONGS.get(iv, i * BLOCK + 8);
        for (int at = i * SECTOR; at < (i + 1) * SECTOR; at += BLOCK) {
          LONGS.set(in, at, (long) LONGS.get(in, at) ^ low);
          LONGS.set(in, at + 8, (long) LONGS.get(in, at + 8) ^ high);
          long carry = high >> 63;
          high = high << 1 | low >>> 63;
          low = low << 1 ^ carry & 0x87;
        }
      }
      cipher.update(in, 0, count * SECTOR, out, 0);
      for (int i = 0; i < count; i++) {
        long low = (long) LONGS.get(iv, i * BLOCK);
        long high = (long) LONGS.get(iv, i * BLOCK + 8);
        for (int at = i * SECTOR; at < (i + 1) * SECTOR; at += BLOCK) {
          LONGS.set(out, at, (long) LONGS.get(out, at) ^ low);
          LONGS.set(out, at + 8, (long) LONGS.get(out, at + 8) ^ high);
          long carry = high >> 63;
          high = high << 1 | low >>> 63;
          low = low << 1 ^ carry & 0x87;
        }
      }
    }

    private void decryptCbc(int count) throws GeneralSecurityException {
      decryptor.update(in, 0, count * SECTOR, out, 0);
      for (int i = 0; i < count; i++) {
        int start = i * SECTOR;
        xor(out, start, iv, i * BLOCK);
        for (int at = start + BLOCK; at < start + SECTOR; at += BLOCK) {
          xor(out, at, in, at - BLOCK);
        }
      }
    }

    private void encryptCbc(int count) throws GeneralSecurityException {
      for (int block = 0; block < BLOCKS; block++) {
        for (int i = 0; i < count; i++) {
          int at = i * SECTOR + block * BLOCK;
          System.arraycopy(in, at, blocks, i * BLOCK, BLOCK);
          xor(blocks, i * BLOCK, iv, i * BLOCK);
        }
        encryptor.update(blocks, 0, count * BLOCK, iv, 0);
        for (int i = 0; i < count; i++) {
          System.arraycopy(iv, i * BLOCK, out, i * SECTOR + block * BLOCK, BLOCK);
        }
      }
    }

    private static void xor(byte[] to, int at, byte[] with, int from) {
      LONGS.set(to, at, (long) LONGS.get(to, at) ^ (long) LONGS.get(with, from));
      LONGS.set(to, at + 8, (long) LONGS.get(to, at + 8) ^ (long) LONGS.get(with, from + 8));
    }

    /** A cipher lets go of its key when it gets another one. */
    void wipe() {
      Arrays.fill(in, (byte) 0);
      Arrays.fill(out, (byte) 0);
      Arrays.fill(iv, (byte) 0);
      Arrays.fill(blocks, (byte) 0);
      try {
        for (Cipher cipher : new Cipher[] {encryptor, decryptor, essiv, tweaks}) {
          if (cipher != null) {
            cipher.init(Cipher.ENCRYPT_MODE, new SecretKeySpec(new byte[BLOCK], "AES"));
          }
        }
      } catch (GeneralSecurityException e) {
        throw new IllegalStateException("AES takes a key of 16 bytes", e);
      }
    }
  }
}
