import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;

/**
 * Writes a shared library with one function for JNI, which makes a system call: what a compiler
 * would make of
 *
 * <pre>
 *   jlong call(JNIEnv *env, jclass c, jlong n, jlong a0, jlong a1, jlong a2, jlong a3, jlong a4,
 *              jlong a5) { return raw_syscall(n, a0, a1, a2, a3, a4, a5); }
 * </pre>
 *
 * <p>With it the command line starts 20 ms earlier than with foreign functions, whose first use
 * makes the JVM spin thirty classes ({@code docs/decisions/}). A C compiler is not asked for,
 * because few machines that run a JVM have one.
 *
 * <p>Linux on x86-64; elsewhere nothing is written, and foreign functions do the same.
 */
final class SyscallLibrary {
  /** The name under which JNI looks for {@code native long call(long...)}. */
  private static final String SYMBOL = "Java_dev_imago_internal_Syscall_call";

  /** System V calling convention in, system call out: rax, then rdi rsi rdx r10 r8 r9. */
  private static final String CODE =
      "f30f1efa" // endbr64
          + "4889d0" // mov rax, rdx
          + "4889cf" // mov rdi, rcx
          + "4c89c6" // mov rsi, r8
          + "4c89ca" // mov rdx, r9
          + "4c8b542408" // mov r10, [rsp+8]
          + "4c8b442410" // mov r8, [rsp+16]
          + "4c8b4c2418" // mov r9, [rsp+24]
          + "0f05" // syscall
          + "c3"; // ret

  private static final int PAGE = 0x1000;
  private static final int HEADER = 64;
  private static final int SEGMENT = 56;
  private static final int SYMBOL_ENTRY = 24;

  private SyscallLibrary() {}

  public static void main(String[] args) throws IOException {
    if ("Linux".equals(System.getProperty("os.name"))
        && "amd64".equals(System.getProperty("os.arch"))) {
      Files.write(Path.of(args[0]), library());
    }
  }

  /**
   * An ELF file: read-only tables and code in the first page, the dynamic section in the second.
   */
  private static byte[] library() {
    byte[] code = HexFormat.of().parseHex(CODE);
    byte[] names = ("\0" + SYMBOL + "\0imago-syscall.so\0").getBytes(StandardCharsets.US_ASCII);
    int soName = SYMBOL.length() + 2;
    int symbols = HEADER + 4 * SEGMENT;
    int hash = symbols + 2 * SYMBOL_ENTRY;
    int strings = hash + 5 * 4;
    int text = strings + names.length + 15 & -16;
    int end = text + code.length;
    int dynamic = PAGE;
    int dynamicBytes = 7 * 16;

    ByteBuffer out = ByteBuffer.allocate(dynamic + dynamicBytes).order(ByteOrder.LITTLE_ENDIAN);
    out.put(new byte[] {0x7f, 'E', 'L', 'F', 2, 1, 1}).position(16);
    out.putShort((short) 3).putShort((short) 62).putInt(1); // shared object, x86-64
    out.putLong(0).putLong(HEADER).putLong(0).putInt(0);
    out.putShort((short) HEADER).putShort((short) SEGMENT).putShort((short) 4);
    out.putShort((short) 64).putShort((short) 0).putShort((short) 0);
    segment(out, 1, 5, 0, end, PAGE); // LOAD, readable and executable
    segment(out, 1, 6, dynamic, dynamicBytes, PAGE); // LOAD, readable and writable
    segment(out, 2, 6, dynamic, dynamicBytes, 8); // DYNAMIC
    segment(out, 0x6474e551, 6, 0, 0, 16); // GNU_STACK: not executable

    out.position(symbols + SYMBOL_ENTRY); // the first symbol is all zero
    out.putInt(1).put((byte) 0x12).put((byte) 0).putShort((short) 1); // global function
    out.putLong(text).putLong(code.length);
    out.putInt(1).putInt(2).putInt(1).putInt(0).putInt(0); // one bucket: symbol 1, then the end
    out.put(names);
    out.position(text);
    out.put(code);

    out.position(dynamic);
    out.putLong(14).putLong(soName); // SONAME
    out.putLong(4).putLong(hash); // HASH
    out.putLong(5).putLong(strings); // STRTAB
    out.putLong(6).putLong(symbols); // SYMTAB
    out.putLong(10).putLong(names.length); // STRSZ
    out.putLong(11).putLong(SYMBOL_ENTRY); // SYMENT
    return out.array();
  }

  private static void segment(
      ByteBuffer out, int type, int flags, long at, long length, long alignment) {
    out.putInt(type).putInt(flags).putLong(at).putLong(at).putLong(at);
    out.putLong(length).putLong(length).putLong(alignment);
  }
}
